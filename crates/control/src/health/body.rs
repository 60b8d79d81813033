//! The body of an answer: reading it up to a limit, and looking for a text in it.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Bytes that are read.
pub(super) const MAX_BODY: usize = 64 << 10;

/// Reads a body until it ends or the limit is reached, and hands over its pieces.
///
/// # Errors
/// The connection failed, or what came is not HTTP any more.
pub(super) async fn read(body: &mut Incoming, mut take: impl FnMut(&[u8])) -> Result<(), hyper::Error> {
    let mut room = MAX_BODY;
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body.
        let Ok(data) = frame?.into_data() else { continue };
        let piece = &data[..data.len().min(room)];
        take(piece);
        room -= piece.len();
        if room == 0 {
            break;
        }
    }
    Ok(())
}

/// Looks for some bytes in what comes in pieces.
#[derive(Debug)]
pub(super) struct Search<'a> {
    wanted: &'a [u8],
    /// The end of what has come, in which they may have begun.
    rest: Vec<u8>,
    found: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(wanted: &'a [u8]) -> Self {
        Self { wanted, rest: Vec::new(), found: wanted.is_empty() }
    }

    pub(super) fn go_on(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        self.rest.extend_from_slice(piece);
        self.found = self.rest.windows(self.wanted.len()).any(|window| window == self.wanted);
        self.rest.drain(..self.rest.len().saturating_sub(self.wanted.len()));
    }

    pub(super) fn has_found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cuts_hide_nothing_and_make_up_nothing(
            pieces in prop::collection::vec("[abé]{0,6}", 0..8), text in "[abé]{0,4}", cut in 0..40_usize,
        ) {
            let whole = pieces.concat();
            let mut search = Search::new(text.as_bytes());
            // Anywhere, within a character as well.
            let (first, last) = whole.as_bytes().split_at(cut.min(whole.len()));
            search.go_on(first);
            last.chunks(3).for_each(|piece| search.go_on(piece));
            prop_assert_eq!(search.has_found(), whole.contains(&text));
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_one() {
        let mut search = Search::new(b"fine");
        search.go_on(b"\xff\xfefi");
        search.go_on(b"ne\xc3");
        assert!(search.has_found());
    }
}
