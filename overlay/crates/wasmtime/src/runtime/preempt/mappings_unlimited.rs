//! Memory mappings, where the OS allows a process any number of them.

use crate::prelude::*;

pub(super) fn ensure_room() -> Result<()> {
    Ok(())
}
