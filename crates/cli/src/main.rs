use std::process::ExitCode;

fn main() -> ExitCode {
    preempt_cli::main()
}
