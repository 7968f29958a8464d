//! Stands in for the stub: only addresses matter.

pub unsafe extern "C" fn stub() {
    unreachable!("the stub of a complete frame");
}

pub unsafe extern "C" fn stub_no_frame() {
    unreachable!("the stub without a frame");
}

pub unsafe extern "C" fn stub_half_frame() {
    unreachable!("the stub of half a frame");
}
