//! Writes the seeds into `fuzz/corpus`: `cargo run -p preempt-fuzzing --example seeds`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for seed in preempt_fuzzing::seeds() {
        let file = corpus.join(seed.target).join(&seed.name);
        std::fs::write(file, seed.bytes)?;
    }
    Ok(())
}
