//! The frames of interrupted code.

/// Walks the frames as from the stub, which returns to `pc`, and whose caller's frame is at `fp`,
/// and compares them with `calls`, if there are any: the functions that were called, oldest first.
/// If the stub has yet to make the caller's frame, `unlinked` is what it will consist of.
///
/// # Errors
///
/// What is different.
///
/// # Safety
///
/// `sp` is where the guest's stack ends, and there are mapped pages above.
pub unsafe fn compare(
    calls: &[u32],
    function_at: impl Fn(usize) -> Option<u32>,
    pc: usize,
    sp: usize,
    mut fp: usize,
    mut unlinked: Option<[usize; 2]>,
) -> Result<(), String> {
    if calls.is_empty() {
        return Ok(());
    }
    let mut frame_pc = pc;
    let mut found_pc = pc;
    for (depth, expected) in calls.iter().rev().enumerate() {
        let found = function_at(found_pc);
        if found != Some(*expected) {
            return Err(format!(
                "frame {depth} is in function {found:?} ({frame_pc:#x}) instead of {expected}, \
                 called were {calls:?}"
            ));
        }
        let in_stack = fp >= sp && fp - sp < 1 << 20 && fp.is_multiple_of(8);
        [fp, frame_pc] = match unlinked.take() {
            Some(frame) => frame,
            None if !in_stack => {
                return Err(format!("frame {depth} has {fp:#x} as frame pointer"));
            }
            // SAFETY: this function's own contract, and `fp` is close above `sp`.
            None => unsafe { (fp as *const [usize; 2]).read() },
        };
        // What a return address is after.
        found_pc = frame_pc.wrapping_sub(1);
    }
    match function_at(found_pc) {
        Some(id) => Err(format!("the oldest frame has a caller, {id}")),
        None => Ok(()),
    }
}
