//! Which notices the desktop shows, and with which buttons.

use super::{Notice, NoticeAct, NoticeLevel};
use crate::settings::NotificationSettings;

/// A page asks for what is new at least every two seconds while it is visible; after so many milliseconds without that, nobody
/// looks at one any more.
pub const WATCHED_MS: u64 = 5000;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// A part of each day, in minutes since midnight of the machine's own time; may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    from: u16,
    to: u16,
}

impl QuietHours {
    /// Reads "22:00-07:00": hour and minute of the begin, which belongs to it, and of the end, which does not. The end may be
    /// 24:00. `None`: it is not of that form, or begin and end are the same.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let hours = Self { from: minute(from)?, to: minute(to)? };
        (hours.from != hours.to && hours.from < MINUTES_PER_DAY).then_some(hours)
    }

    /// Whether a minute of the day lies within.
    pub fn contain(self, minute: u16) -> bool {
        match self.from < self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        }
    }
}

/// "7:05" or "07:05" in minutes since midnight.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str, least: usize| {
        (least..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(hour, 1) || !digits(minute, 2) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= MINUTES_PER_DAY).then_some(at)
}

/// What holds when a notice comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion {
    /// Of the machine's own time, since midnight.
    pub minute: u16,
    /// How long ago a page was last looked at, in milliseconds; `None`: never.
    pub watched_ms: Option<u64>,
}

/// Whether the desktop shows a notice. It stays among the events in any case.
pub fn shown_on_desktop(notice: &Notice, settings: &NotificationSettings, occasion: Occasion) -> bool {
    let quiet = QuietHours::parse(&settings.quiet).is_some_and(|hours| hours.contain(occasion.minute));
    // Where it was clicked, it stands on the page.
    let seen = notice.own && occasion.watched_ms.is_some_and(|ago| ago < WATCHED_MS);
    settings.enabled && !seen && (!quiet || notice.level == NoticeLevel::Problem)
}

/// The buttons of a notice on the desktop: one at most, as many desktops show no more without a further click. `has_panel`: there is
/// a window that can show a log.
pub fn buttons(notice: &Notice, has_panel: bool) -> Vec<NoticeAct> {
    let wanted = |act: &&NoticeAct| match act {
        NoticeAct::Undo { .. } => true,
        // A server that is well again is no reason to read what it wrote.
        NoticeAct::ShowLog { .. } => has_panel && notice.level != NoticeLevel::Info,
        _ => false,
    };
    notice.acts.iter().find(wanted).cloned().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, notice::NoticeKind};

    fn notice(level: NoticeLevel, own: bool, acts: Vec<NoticeAct>) -> Notice {
        Notice {
            id: 1,
            at: Timestamp::UNIX_EPOCH,
            level,
            kind: NoticeKind::Server,
            title: "Ollama hung".into(),
            body: "It was ended.".into(),
            hint: None,
            server: None,
            acts,
            own,
        }
    }

    #[test]
    fn quiet_hours_are_two_times_of_the_day() {
        let day = |from, to| Some(QuietHours { from, to });
        for (text, read) in [
            ("22:00-07:00", day(1320, 420)),
            ("7:05-8:00", day(425, 480)),
            (" 22:30 - 06:15 ", day(1350, 375)),
            ("00:00-24:00", day(0, 1440)),
            ("23:59-00:00", day(1439, 0)),
            ("12:00-12:01", day(720, 721)),
            ("", None),
            ("22:00", None),
            ("22-7", None),
            ("22:00-22:00", None),
            ("24:00-07:00", None),
            ("22:60-07:00", None),
            ("25:00-07:00", None),
            ("22:00-24:01", None),
            ("22:0-07:00", None),
            ("+2:00-07:00", None),
            ("022:00-07:00", None),
            ("10pm-7am", None),
            ("22:00-07:00-08:00", None),
        ] {
            assert_eq!(QuietHours::parse(text), read, "{text:?}");
        }
    }

    #[test]
    fn the_begin_belongs_to_the_quiet_hours_and_the_end_does_not() {
        for (text, within, outside) in [
            ("22:00-07:00", &[1320, 1439, 0, 419][..], &[420, 720, 1319][..]),
            ("13:00-14:30", &[780, 869], &[779, 870, 0, 1439]),
            ("00:00-24:00", &[0, 720, 1439], &[]),
            ("23:59-00:00", &[1439], &[0, 1438]),
            ("00:00-06:00", &[0, 359], &[360, 1439]),
        ] {
            let hours = QuietHours::parse(text).unwrap();
            assert!(within.iter().all(|minute| hours.contain(*minute)), "{text}");
            assert!(!outside.iter().any(|minute| hours.contain(*minute)), "{text}");
        }
    }

    #[test]
    fn the_desktop_shows_what_nobody_sees_elsewhere_and_at_night_only_problems() {
        use NoticeLevel::{Attention, Info, Problem};
        const NIGHT: u16 = 60;
        const DAY: u16 = 720;
        // Level, own, on, quiet hours, minute, watched so long ago; shown.
        let table = [
            (Info, false, true, "", NIGHT, None, true),
            (Info, false, false, "", DAY, None, false),
            (Problem, false, false, "", DAY, None, false),
            (Info, false, true, "22:00-07:00", NIGHT, None, false),
            (Attention, false, true, "22:00-07:00", NIGHT, None, false),
            (Problem, false, true, "22:00-07:00", NIGHT, None, true),
            (Info, false, true, "22:00-07:00", DAY, None, true),
            (Info, true, true, "22:00-07:00", NIGHT, None, false),
            (Info, true, true, "", DAY, None, true),
            (Info, true, true, "", DAY, Some(0), false),
            (Attention, true, true, "", DAY, Some(WATCHED_MS - 1), false),
            (Info, true, true, "", DAY, Some(WATCHED_MS), true),
            (Info, false, true, "", DAY, Some(0), true),
            (Problem, false, true, "22:00-07:00", NIGHT, Some(0), true),
            // What cannot be read keeps nothing back; the settings file refuses it anyway.
            (Info, false, true, "at night", NIGHT, None, true),
        ];
        for (level, own, enabled, quiet, minute, watched_ms, shown) in table {
            let settings = NotificationSettings { enabled, quiet: quiet.into() };
            let occasion = Occasion { minute, watched_ms };
            let told = shown_on_desktop(&notice(level, own, vec![]), &settings, occasion);
            assert_eq!(
                told, shown,
                "{level:?} own {own}, on {enabled}, {quiet:?} at {minute}, {watched_ms:?}"
            );
        }
    }

    #[test]
    fn a_notice_has_one_button_at_most_and_none_that_leads_nowhere() {
        use NoticeLevel::{Attention, Info, Problem};
        let log = NoticeAct::ShowLog { server: "ollama".into() };
        let again = NoticeAct::StartAgain { server: "ollama".into() };
        let undo = NoticeAct::Undo { until: Timestamp::UNIX_EPOCH };
        let run = NoticeAct::ShowRun { run_id: 1 };
        for (level, acts, has_panel, wanted) in [
            (Info, vec![undo.clone()], false, Some("Undo")),
            (Problem, vec![log.clone(), again.clone()], true, Some("Show log")),
            (Problem, vec![log.clone(), again.clone()], false, None),
            (Attention, vec![log.clone()], true, Some("Show log")),
            (Info, vec![log.clone()], true, None),
            (Attention, vec![run], true, None),
            (Problem, vec![again], true, None),
            (Info, vec![], true, None),
        ] {
            let shown = buttons(&notice(level, false, acts.clone()), has_panel);
            let words: Vec<&str> = shown.iter().map(NoticeAct::words).collect();
            assert_eq!(words, Vec::from_iter(wanted), "{level:?} {acts:?} {has_panel}");
        }
    }
}
