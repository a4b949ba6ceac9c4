//! Of which kept sums a period is made: whole minutes at its edges, whole hours and days between.

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Sums of single minutes are kept for so long; hours and days as long as the records.
pub const MINUTES_KEPT_MS: i64 = 2 * DAY_MS;

/// The length of what one kept sum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Minute,
    Hour,
    /// Of UTC.
    Day,
}

impl Span {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// As SQL spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub fn ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }

    /// The begin of the span that a moment is in.
    pub fn begin_of(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.ms()).saturating_mul(self.ms())
    }
}

/// The sums of one length that begin in `from_ms..to_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub span: Span,
    pub from_ms: i64,
    pub to_ms: i64,
}

/// The period from `since_ms` until now, begun where the sums that are kept allow: at its minute or, when single minutes are gone,
/// at its hour. Each moment is in one piece; the minute of now is in it.
pub fn pieces(since_ms: i64, now_ms: i64) -> Vec<Piece> {
    let finest = if since_ms >= now_ms - MINUTES_KEPT_MS + HOUR_MS { Span::Minute } else { Span::Hour };
    let from = finest.begin_of(since_ms);
    let end = Span::Minute.begin_of(now_ms).saturating_add(MINUTE_MS);
    let mut made = Vec::new();
    let mut at = from;
    let mut take = |span: Span, to: i64| {
        if at < to {
            made.push(Piece { span, from_ms: at, to_ms: to });
            at = to;
        }
    };
    let up = |span: Span, at: i64| span.begin_of(at.saturating_add(span.ms() - 1));
    let (hours, days) = (up(Span::Hour, from), up(Span::Day, from));
    take(Span::Minute, hours.min(end));
    take(Span::Hour, days.min(Span::Hour.begin_of(end)));
    take(Span::Day, Span::Day.begin_of(end));
    take(Span::Hour, Span::Hour.begin_of(end));
    take(Span::Minute, end);
    made
}
