//! A process that is told what to do by lines, and answers each by a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

/// Runs until it is dropped.
pub struct Piped {
    program: String,
    process: Child,
    /// `None` once the process was told to end.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Piped {
    pub fn start(command: &mut Command) -> Result<Piped> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        let Some(from) = from else {
            bail!("{program} has no standard output");
        };
        Ok(Piped {
            program,
            process,
            to,
            from: BufReader::new(from),
        })
    }

    /// # Errors
    ///
    /// If the process ends instead of answering. It has said why on its standard
    /// error.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let Some(to) = &mut self.to else {
            bail!("the process was told to end");
        };
        let mut answer = String::new();
        let asked = writeln!(to, "{line}").and_then(|()| self.from.read_line(&mut answer));
        ensure!(
            asked.is_ok_and(|bytes| bytes > 0),
            "{} has ended when it was asked for `{line}`",
            self.program
        );
        Ok(answer.trim_end().into())
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_answered_until_the_process_ends() -> Result<()> {
        let script = "read line; echo \"$line too\"; read line";
        let mut process = Piped::start(Command::new("sh").args(["-c", script]))?;
        assert_eq!(process.ask("this")?, "this too");
        let error = process.ask("that");
        assert!(error.is_err_and(|error| error.to_string().contains("asked for `that`")));
        Ok(())
    }
}
