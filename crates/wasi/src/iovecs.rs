//! Vectored reads and writes in bounded pieces.
//!
//! Upstream's functions look at every iovec, however many, and use only the first non-empty
//! one, however long. Here a call accepts [`MAX_IOVECS`] and moves up to [`MAX_BYTES`] (a
//! short read or write, in POSIX terms), so it never holds the siblings up for long. It
//! moves several buffers at once, so lines that C's `stdio` writes in parts stay whole. To
//! do that, the bytes pass through a private memory with a single iovec:
//!
//! ```text
//!   guest's memory                          Piece
//!
//!   iovecs -> buffer, buffer, ..  <----->   | iovec | bytes |  <----> upstream's function
//! ```

use wasmtime_wasi::p1::types::{Ciovec, Errno, Error, Iovec, Size};
use wiggle::{GuestMemory, GuestPtr, GuestType};

/// How many iovecs one call accepts: Linux's `IOV_MAX`.
pub const MAX_IOVECS: u32 = 1024;

/// The most bytes one call moves.
pub const MAX_BYTES: u32 = 256 << 10;

/// Where the bytes start in the piece's memory. The iovec comes before them.
const BYTES_AT: u32 = 16;

/// A memory that holds one iovec and its bytes.
pub struct Piece {
    memory: Vec<u8>,
    /// Where the iovec starts: the offset that aligns it.
    start: usize,
    len: u32,
}

impl Piece {
    /// A piece with room for `len` bytes.
    fn new(len: u32) -> Result<Piece, Error> {
        let alignment = Iovec::guest_align().max(Ciovec::guest_align());
        let memory = vec![0; (BYTES_AT + len) as usize + alignment];
        let start = memory.as_ptr().align_offset(alignment);
        let mut piece = Piece { memory, start, len };
        let iovec = Iovec {
            buf: GuestPtr::new(BYTES_AT),
            buf_len: len,
        };
        piece.memory().write(GuestPtr::new(0), iovec)?;
        Ok(piece)
    }

    /// Copies the contents of the guest's buffers, up to what one call takes.
    ///
    /// # Errors
    ///
    /// `inval` if there are too many buffers; a trap if one is out of bounds.
    pub fn gather(memory: &GuestMemory<'_>, iovecs: GuestPtr<[Ciovec]>) -> Result<Piece, Error> {
        let buffers = |iovec: Ciovec| (iovec.buf, iovec.buf_len);
        let buffers = buffers_of(memory, iovecs, buffers)?;
        let mut piece = Piece::new(buffers.iter().map(|buffer| buffer.len()).sum())?;
        let mut at = piece.start + BYTES_AT as usize;
        for buffer in buffers {
            let bytes = memory.as_cow(buffer)?;
            piece.memory[at..at + bytes.len()].copy_from_slice(&bytes);
            at += bytes.len();
        }
        Ok(piece)
    }

    /// Makes room for what one call reads into the guest's buffers.
    ///
    /// # Errors
    ///
    /// As for [`Piece::gather`].
    pub fn for_reading(
        memory: &GuestMemory<'_>,
        iovecs: GuestPtr<[Iovec]>,
    ) -> Result<Piece, Error> {
        let buffers = buffers_of(memory, iovecs, |iovec: Iovec| (iovec.buf, iovec.buf_len))?;
        Piece::new(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    /// Copies the first `read` bytes into the guest's buffers.
    ///
    /// # Errors
    ///
    /// As for [`Piece::gather`].
    pub fn scatter(
        &self,
        memory: &mut GuestMemory<'_>,
        iovecs: GuestPtr<[Iovec]>,
        read: Size,
    ) -> Result<(), Error> {
        let start = self.start + BYTES_AT as usize;
        let mut bytes = &self.memory[start..start + read.min(self.len) as usize];
        for buffer in buffers_of(memory, iovecs, |iovec: Iovec| (iovec.buf, iovec.buf_len))? {
            let len = bytes.len().min(buffer.len() as usize);
            let (now, later) = bytes.split_at(len);
            let part = buffer.get_range(0..u32::try_from(len)?);
            memory.copy_from_slice(now, part.ok_or(Errno::Overflow)?)?;
            bytes = later;
        }
        Ok(())
    }

    pub fn memory(&mut self) -> GuestMemory<'_> {
        GuestMemory::Unshared(&mut self.memory[self.start..])
    }

    /// The piece's iovec, for reading or for writing.
    pub fn iovecs<T>(&self) -> GuestPtr<[T]> {
        GuestPtr::new((0, 1))
    }
}

/// The guest's buffers, as many and as much of them as one call takes.
fn buffers_of<T: for<'a> GuestType>(
    memory: &GuestMemory<'_>,
    iovecs: GuestPtr<[T]>,
    buffer: impl Fn(T) -> (GuestPtr<u8>, Size),
) -> Result<Vec<GuestPtr<[u8]>>, Error> {
    if iovecs.len() > MAX_IOVECS {
        return Err(Errno::Inval.into());
    }
    let mut left = MAX_BYTES;
    let mut buffers = Vec::new();
    for iovec in iovecs.iter() {
        let (start, len) = buffer(memory.read(iovec?)?);
        let len = len.min(left);
        if len > 0 {
            buffers.push(start.as_array(len));
            left -= len;
        }
        if left == 0 {
            break;
        }
    }
    Ok(buffers)
}
