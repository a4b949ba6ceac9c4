//! A body in a few pieces of known length, sent without putting them together: a large prompt is in memory once.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// What is left to be sent, in order. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pieces(Vec<Bytes>);

impl Pieces {
    pub fn new(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }

    fn left(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

impl From<Pieces> for reqwest::Body {
    fn from(pieces: Pieces) -> Self {
        Self::wrap(pieces)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.iter_mut().find(|piece| !piece.is_empty());
        Poll::Ready(next.map(|piece| Ok(Frame::data(std::mem::take(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    /// Exact: it becomes the Content-Length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left() as u64)
    }
}

#[cfg(test)]
impl Pieces {
    /// All of it, as the server reads it.
    pub fn joined(&self) -> Vec<u8> {
        self.0.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn pieces_come_in_order_once_and_with_their_length() {
        let mut pieces = Pieces::new(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")]);
        let mut read = Vec::new();
        let mut lengths = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut pieces).poll_frame(&mut context) {
            read.extend_from_slice(frame.data_ref().unwrap());
            lengths.push(pieces.size_hint().exact());
        }
        assert_eq!((read.as_slice(), lengths), (b"abc".as_slice(), vec![Some(1), Some(0)]));
        assert!(pieces.is_end_stream());
    }
}
