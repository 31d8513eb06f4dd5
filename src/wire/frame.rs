//! A frame: one JSON object and a NUL byte; its length is bounded before it is parsed.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest request that the runner reads, in bytes.
pub const LONGEST_REQUEST: usize = 64 << 10;

/// The longest answer that the command line reads, in bytes.
pub const LONGEST_ANSWER: usize = 4 << 20;

/// Why a frame could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than its bound.
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
    /// It is not what was expected.
    #[error("a message could not be understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes a message as a frame.
///
/// # Errors
/// The message cannot be JSON.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = serde_json::to_vec(message)?;
    frame.push(0);
    Ok(frame)
}

/// Reads the frame at the start of `bytes`: the message and how many bytes it took, or `None` while
/// the frame is incomplete.
///
/// # Errors
/// The frame is longer than `longest`, or not such a message.
pub fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    longest: usize,
) -> Result<Option<(T, usize)>, FrameError> {
    match bytes.iter().take(longest + 1).position(|byte| *byte == 0) {
        Some(end) => Ok(Some((serde_json::from_slice(&bytes[..end])?, end + 1))),
        None if bytes.len() > longest => Err(FrameError::TooLong(longest)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back() {
        let frame = encode(&"hello").expect("a text is JSON");
        assert!(decode::<String>(&frame[..3], 100).expect("incomplete").is_none());
        let (text, used) = decode::<String>(&frame, 100).expect("whole").expect("whole");
        assert_eq!((text.as_str(), used), ("hello", frame.len()));
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        assert!(matches!(decode::<String>(&[b'x'; 101], 100), Err(FrameError::TooLong(100))));
        assert!(decode::<String>(&[b'x'; 100], 100).expect("not yet").is_none());
        assert!(matches!(decode::<String>(b"{]\0", 100), Err(FrameError::Json(_))));
    }
}
