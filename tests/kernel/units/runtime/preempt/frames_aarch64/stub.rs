//! Stands in for the stub: only addresses matter.

pub unsafe extern "C" fn stub() {
    unreachable!("the stub of a complete frame");
}

pub unsafe extern "C" fn stub_no_frame() {
    unreachable!("the stub without a frame");
}

pub unsafe extern "C" fn stub_live_link() {
    unreachable!("the stub with a live link register");
}
