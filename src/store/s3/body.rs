//! The body of a request that writes an object: bytes in memory, or pieces that are read only when
//! the connection takes them. Its length is known, so S3 needs no other encoding.

use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::super::{Payload, Pieces};

/// The failure to read a payload.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(String);

/// Returns the body. Each attempt of the request reads it from its beginning.
pub(super) fn of(payload: Payload) -> ByteStream {
    match payload.in_memory() {
        Some(bytes) => ByteStream::from(bytes.clone()),
        None => ByteStream::new(SdkBody::retryable(move || {
            let (left, pieces) = (payload.size(), payload.pieces());
            SdkBody::from_body_1_x(Streamed { left, pieces })
        })),
    }
}

struct Streamed {
    left: u64,
    pieces: Pieces,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Unreadable;

    // This reads from a file on a thread of the network. The bytes were hashed a moment ago, so
    // they come from memory.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        Poll::Ready(self.pieces.next().map(|piece| match piece {
            Ok(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece))
            }
            Err(error) => Err(Unreadable(error.explanation())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
