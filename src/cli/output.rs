//! Standard output and standard error, as one value: whether it is a terminal, in colour, how wide.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use serde::Serialize;

use super::exit::Failure;
use crate::formats::clean::{clean, clean_json};

/// Where commands write to.
pub struct Output {
    sink: BufWriter<Box<dyn Write>>,
    /// Stdout is a terminal.
    pub terminal: bool,
    /// Colours are wanted.
    pub colour: bool,
    /// Columns of the terminal; `None`: no bound.
    pub width: Option<usize>,
    /// Rows of the terminal.
    pub height: Option<usize>,
}

impl Output {
    /// The process's own stdout. `NO_COLOR` (no-color.org) and `COLUMNS` are obeyed.
    #[must_use]
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        let positive = |cells: u16| (cells > 0).then_some(usize::from(cells));
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let columns = variable("COLUMNS").and_then(|text| text.parse().ok()).filter(|n| *n > 0);
        let is_plain =
            variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|t| t == "dumb");
        Self {
            sink: BufWriter::new(Box::new(stdout)),
            terminal,
            colour: terminal && !is_plain,
            width: columns.or(size.and_then(|size| positive(size.ws_col))),
            height: size.and_then(|size| positive(size.ws_row)),
        }
    }

    /// An output into `sink`, as if into a file.
    #[cfg(test)]
    pub fn into_sink(sink: impl Write + 'static) -> Self {
        let sink = BufWriter::new(Box::new(sink) as Box<dyn Write>);
        Self { sink, terminal: false, colour: false, width: None, height: None }
    }

    /// Writes `text` as it is, to be seen at the next [`Output::flush`] at the latest.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes `bytes` as they are.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write_all(bytes).map_err(|error| Failure::from_output(&error))
    }

    /// Writes `text` and a newline.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text)?;
        self.write("\n")
    }

    /// Writes one JSON document, nothing else.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(document).map_err(|error| {
            Failure::failed(format!("cannot write the document as JSON: {error}"))
        })?;
        self.line(&clean_json(&json))?;
        self.flush()
    }

    /// Lets all that was written be seen.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.sink.flush().map_err(|error| Failure::from_output(&error))
    }
}

/// The descriptor of stdout where it is a pipe or a socket, whose reader can go.
pub fn stdout_if_pipe() -> Option<BorrowedFd<'static>> {
    static STDOUT: std::sync::LazyLock<io::Stdout> = std::sync::LazyLock::new(io::stdout);
    let kind = nix::sys::stat::fstat(STDOUT.as_fd()).ok()?.st_mode & libc::S_IFMT;
    matches!(kind, libc::S_IFIFO | libc::S_IFSOCK).then(|| STDOUT.as_fd())
}

/// Says something to the operator on stderr; that nobody listens there is no error.
pub fn say(text: &str) {
    let mut lines = String::with_capacity(text.len() + 8);
    for line in text.lines() {
        lines.push_str(&clean(line));
        lines.push('\n');
    }
    let _ = io::stderr().lock().write_all(lines.as_bytes());
}

/// Whether somebody watches stderr.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_silent_and_a_full_disk_is_not() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut output = Output::into_sink(writer);
        output.line("text").expect("buffered");
        assert_eq!(output.flush(), Err(Failure::OutputClosed));

        let full = std::fs::File::options().write(true).open("/dev/full").expect("there");
        let mut output = Output::into_sink(full);
        output.line("text").expect("buffered");
        let Err(Failure::Because(_, text)) = output.flush() else { panic!("it was written") };
        assert!(text.contains("standard output") && text.contains("No space left"), "{text}");
    }
}
