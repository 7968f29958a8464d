//! Listing a directory in bounded pieces.
//!
//! Upstream's function fills the guest's buffer, however long, and has the OS stat every
//! file it lists. Here each call fills one piece of the buffer. A piece usually ends with a
//! partial entry; the next piece starts at that entry, using its cookie:
//!
//! ```text
//!   guest's buffer    | entry | entry | ent               |
//!   first piece       |-------------------|               |
//!   second piece      |               | entry | entry | en|
//! ```

use wasmtime_wasi::p1::types::{Dircookie, Dirent, Size};
use wiggle::{GuestMemory, GuestType};

/// A piece's size in bytes: more than any one entry, and hundreds of typical ones.
const PIECE: u32 = 16 << 10;

/// How much of the guest's buffer is filled, and what comes next.
pub struct Listing {
    /// The length of the guest's buffer.
    len: u32,
    filled: u32,
    cookie: Dircookie,
    piece: Vec<u8>,
}

impl Listing {
    pub fn new(len: Size, cookie: Dircookie) -> Listing {
        Listing {
            len,
            filled: 0,
            cookie,
            piece: Vec::new(),
        }
    }

    pub fn cookie(&self) -> Dircookie {
        self.cookie
    }

    /// Where in the guest's buffer the next piece starts.
    pub fn filled(&self) -> Size {
        self.filled
    }

    /// The memory for the next piece, and its length.
    pub fn piece(&mut self) -> (GuestMemory<'_>, Size) {
        let len = PIECE.min(self.len - self.filled);
        self.piece.resize(len as usize, 0);
        (GuestMemory::Unshared(&mut self.piece), len)
    }

    /// Takes the `used` bytes of entries that the piece now holds. Returns the bytes for
    /// the guest and whether there may be more.
    pub fn take(&mut self, used: Size) -> (&[u8], bool) {
        let is_full = used as usize >= self.piece.len();
        let used = &self.piece[..self.piece.len().min(used as usize)];
        // Both fit: a piece lies within the guest's buffer.
        let len = |bytes: &[u8]| bytes.len() as u32;
        if !is_full || self.filled + len(used) == self.len {
            self.filled += len(used);
            return (used, false);
        }
        let mut whole = 0;
        while let Some((end, next)) = first_of(&used[whole..]) {
            whole += end;
            self.cookie = next;
        }
        let whole = &used[..whole];
        self.filled += len(whole);
        // An entry longer than a piece would be returned forever.
        (whole, !whole.is_empty())
    }
}

/// The length of the first entry and the cookie of the next one, if the entry is complete.
fn first_of(entries: &[u8]) -> Option<(usize, Dircookie)> {
    let (next, _) = entries.split_first_chunk()?;
    let (name_len, _) = entries.get(16..)?.split_first_chunk()?;
    let name_len = usize::try_from(u32::from_le_bytes(*name_len)).ok()?;
    let end = name_len.checked_add(Dirent::guest_size() as usize)?;
    (end <= entries.len()).then_some((end, Dircookie::from_le_bytes(*next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries whose names have these lengths, from the second on.
    fn entries(names: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, next) in names.iter().zip(2u64..) {
            bytes.extend(next.to_le_bytes());
            bytes.extend([0; 8]);
            bytes.extend(u32::try_from(*name).unwrap().to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(vec![b'n'; *name]);
        }
        bytes
    }

    fn fill(listing: &mut Listing, entries: &[u8]) -> (usize, bool) {
        let (_, len) = listing.piece();
        let used = entries.len().min(len as usize);
        listing.piece[..used].copy_from_slice(&entries[..used]);
        let (taken, more) = listing.take(used as u32);
        (taken.len(), more)
    }

    #[test]
    fn a_piece_ends_with_a_whole_entry() {
        let mut listing = Listing::new(1 << 20, 1);
        let names = [200; 100];
        assert_eq!(fill(&mut listing, &entries(&names)), (73 * 224, true));
        assert_eq!((listing.filled(), listing.cookie()), (73 * 224, 74));
        assert_eq!(
            fill(&mut listing, &entries(&names[73..])),
            (27 * 224, false)
        );
        assert_eq!(listing.filled(), 100 * 224);
    }

    #[test]
    fn the_guests_buffer_may_end_with_a_part_of_one() {
        let mut listing = Listing::new(100, 1);
        assert_eq!(fill(&mut listing, &entries(&[10; 9])), (100, false));
        let mut listing = Listing::new(PIECE + 100, 1);
        let many = entries(&[40; 1_000]);
        assert_eq!(fill(&mut listing, &many), (256 * 64, true));
        assert_eq!(fill(&mut listing, &many), (100, false));
        assert_eq!(listing.filled(), PIECE + 100);
    }

    #[test]
    fn no_room_is_no_room() {
        let mut listing = Listing::new(0, 1);
        assert_eq!(fill(&mut listing, &entries(&[1])), (0, false));
    }

    #[test]
    fn what_makes_no_sense_ends() {
        let mut listing = Listing::new(1 << 20, 1);
        let mut entry = entries(&[1]);
        entry[16..20].fill(0xff);
        entry.resize(PIECE as usize, 0xff);
        assert_eq!(fill(&mut listing, &entry), (0, false));
    }
}
