//! Frames out of a byte stream.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::fault::Fault;
use super::frame::{self, Frame, FrameError, Kind};

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The stream ended between two frames.
    Closed,
    /// It broke.
    Io(io::Error),
    /// What came is no frame.
    Frame(FrameError),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::Closed,
            ReadError::Io(error) => Self::Lost(error.to_string()),
            ReadError::Frame(error) => Self::Frame(error),
        }
    }
}

/// Reads one frame after the other, never a byte beyond.
pub(super) struct FrameReader<R> {
    from: R,
    head: [u8; frame::HEADER],
    /// How many bytes of `head` are there.
    have: usize,
    body: Option<Body>,
}

struct Body {
    kind: Kind,
    bytes: Vec<u8>,
    have: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, head: [0; frame::HEADER], have: 0, body: None }
    }

    /// The next frame. What has come is kept in `self`, so the future may be dropped and made again.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) async fn next(&mut self) -> Result<Frame, ReadError> {
        loop {
            let Some(mut body) = self.body.take_if(|body| body.have == body.bytes.len()) else {
                self.read_some().await?;
                continue;
            };
            self.have = 0;
            return Frame::decode(body.kind, std::mem::take(&mut body.bytes))
                .map_err(ReadError::Frame);
        }
    }

    async fn read_some(&mut self) -> Result<(), ReadError> {
        let room = match &mut self.body {
            Some(body) => body.bytes.get_mut(body.have..),
            // The length is judged before the kind is even read.
            None if self.have < 4 => self.head.get_mut(self.have..4),
            None => self.head.get_mut(self.have..),
        };
        let count = match self.from.read(room.unwrap_or_default()).await {
            Ok(count) => count,
            // Without a goodbye of TLS: an attacker on the path could do that too.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(ReadError::Io(error)),
        };
        if count == 0 {
            return Err(self.ended());
        }
        match &mut self.body {
            Some(body) => body.have += count,
            None => {
                self.have += count;
                self.judge_head().map_err(ReadError::Frame)?;
            }
        }
        Ok(())
    }

    fn judge_head(&mut self) -> Result<(), FrameError> {
        let [a, b, c, d, kind] = self.head;
        if self.have < 4 {
            return Ok(());
        }
        let length = frame::check_length([a, b, c, d])? - 1;
        if self.have == frame::HEADER {
            let kind = frame::check_kind(kind, length)?;
            self.body = Some(Body { kind, bytes: vec![0; length], have: 0 });
        }
        Ok(())
    }

    fn ended(&self) -> ReadError {
        let (have, need) = match &self.body {
            Some(body) => (frame::HEADER + body.have, frame::HEADER + body.bytes.len()),
            None if self.have == 0 => return ReadError::Closed,
            None => (self.have, frame::HEADER),
        };
        ReadError::Frame(FrameError::Truncated { have, need })
    }

    /// Reads to the end and forgets it: closing a socket with unread bytes would take our last words
    /// away from the peer.
    pub(super) async fn discard(&mut self) {
        let mut buffer = [0; 4096];
        while self.from.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader says about `bytes` followed by the end of the stream.
    async fn read(bytes: &[u8]) -> (Vec<Frame>, Fault) {
        let mut reader = FrameReader::new(bytes);
        let mut frames = Vec::new();
        loop {
            match reader.next().await {
                Ok(frame) => frames.push(frame),
                Err(fault) => return (frames, fault.into()),
            }
        }
    }

    #[tokio::test]
    async fn every_cut_is_a_close_or_a_truncation() {
        let frames = [Frame::Ping(1), Frame::Message(vec![]), Frame::Message(vec![8; 40])];
        let bytes = frames.iter().flat_map(Frame::encode).collect::<Vec<_>>();
        let ends = [0, 13, 18, 63];
        assert_eq!(bytes.len(), 63);
        for cut in 0..=bytes.len() {
            let (got, fault) = read(&bytes[..cut]).await;
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(got, frames[..whole]);
            if cut == ends[whole] {
                assert_eq!(fault, Fault::Closed);
            } else {
                let Fault::Frame(FrameError::Truncated { have, need }) = fault else {
                    panic!("cut at {cut}: {fault:?}");
                };
                assert_eq!(have, cut - ends[whole]);
                assert!(need > have);
            }
        }
    }

    #[tokio::test]
    async fn claims_are_judged_before_their_bytes_come() {
        let (_, fault) = read(&(frame::MAX_FRAME as u32 + 1).to_be_bytes()).await;
        assert_eq!(fault, Fault::Frame(FrameError::TooLong(frame::MAX_FRAME as u32 + 1)));
        // A ping of 100,000 bytes, of which none came.
        let (_, fault) = read(&[&100_001u32.to_be_bytes()[..], &[2]].concat()).await;
        let wrong = FrameError::WrongSize { kind: Kind::Ping, length: 100_000 };
        assert_eq!(fault, Fault::Frame(wrong));
    }

    #[tokio::test]
    async fn a_dropped_future_loses_nothing() {
        let (mut to, from) = tokio::io::duplex(3);
        let bytes = [Frame::Ping(5), Frame::Message(vec![1, 2, 3])].map(|f| f.encode()).concat();
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            for byte in bytes {
                to.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut reader = FrameReader::new(from);
        let mut got = Vec::new();
        let mut dropped = 0;
        while got.len() < 2 {
            tokio::select! {
                biased;
                frame = reader.next() => got.push(frame.unwrap()),
                () = std::future::ready(()) => dropped += 1,
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(got, [Frame::Ping(5), Frame::Message(vec![1, 2, 3])]);
        assert!(dropped > 0, "the future never was dropped");
        writer.await.unwrap();
    }
}
