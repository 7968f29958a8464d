//! Reading and writing by several buffers at a time, in bounded pieces.
//!
//! Upstream's functions look at all iovecs, however many, and use the first that is not empty,
//! however long. Here a call looks at [`MAX_IOVECS`] and moves [`MAX_BYTES`], which is what
//! POSIX calls a short read or write, so that it holds nobody up for long; and what is
//! in several buffers is moved at once, so that lines which C's `stdio` writes in parts stay
//! whole. For that the bytes go by a memory of their own, with a single iovec:
//!
//! ```text
//!   guest's memory                          Piece
//!
//!   iovecs -> buffer, buffer, ..  <----->   | iovec | bytes |  <----> upstream's function
//! ```

use wasmtime_wasi::p1::types::{Ciovec, Errno, Error, Iovec, Size};
use wiggle::{GuestMemory, GuestPtr, GuestType};

/// How many iovecs one call takes, as `IOV_MAX` of Linux.
pub const MAX_IOVECS: u32 = 1024;

/// How many bytes one call moves.
pub const MAX_BYTES: u32 = 256 << 10;

/// Where the bytes are in the piece's memory. The iovec is before them.
const BYTES_AT: u32 = 16;

/// A memory with one iovec.
pub struct Piece {
    memory: Vec<u8>,
    /// Where it begins, so that its iovec is aligned.
    start: usize,
    len: u32,
}

impl Piece {
    /// With room for `len` bytes.
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

    /// What the guest's buffers hold, as far as one call takes it.
    ///
    /// # Errors
    ///
    /// `inval` if there are too many, and a trap if one is out of bounds.
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

    /// Room for as much as one call reads into the guest's buffers.
    ///
    /// # Errors
    ///
    /// As [`Piece::gather`].
    pub fn for_reading(
        memory: &GuestMemory<'_>,
        iovecs: GuestPtr<[Iovec]>,
    ) -> Result<Piece, Error> {
        let buffers = buffers_of(memory, iovecs, |iovec: Iovec| (iovec.buf, iovec.buf_len))?;
        Piece::new(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    /// Gives the guest's buffers the first `read` bytes.
    ///
    /// # Errors
    ///
    /// As [`Piece::gather`].
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

    /// Its iovec, for reading or for writing.
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
