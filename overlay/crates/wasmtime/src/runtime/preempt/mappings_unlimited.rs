//! Memory mappings, where the OS does not limit them per process.

use crate::prelude::*;

pub(super) fn ensure_room() -> Result<()> {
    Ok(())
}
