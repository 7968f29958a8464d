//! What a guest thread needs of a shared memory to wait at one of its atomics.

use super::SharedMemory;
use crate::runtime::vm::memory::validate_atomic_addr;
use crate::runtime::vm::parking_spot::ParkingSpot;
use wasmtime_environ::Trap;

impl SharedMemory {
    /// The address of `size` bytes at `address`.
    ///
    /// # Errors
    ///
    /// If no atomic can be there.
    pub(crate) fn atomic_addr(&self, address: u64, size: u64) -> Result<*mut u8, Trap> {
        validate_atomic_addr(&self.0.def.0, address, size, size)
    }

    /// Where those who wait at atomics of this memory are queued, by address.
    pub(crate) fn parking_spot(&self) -> &ParkingSpot {
        &self.0.spot
    }
}
