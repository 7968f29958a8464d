#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| preempt_fuzzing::api::run(data));
