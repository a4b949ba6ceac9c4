//! The way to a server, and the probes that are sent over it.

use pilothouse_domain::{endpoint::Endpoint, server::ServerId};
use pilothouse_leases::Target;
use pilothouse_servers::ServerClient;
use std::sync::Arc;
use tokio::sync::watch;

/// A way to a server that answers.
#[derive(Clone)]
pub struct Connection {
    pub client: Arc<dyn ServerClient>,
    pub endpoint: Endpoint,
}

impl Connection {
    /// An instance as whoever asks it himself holds a lease on it.
    pub fn target(&self, server: &ServerId, model: &str, instance: &str) -> Target {
        Target {
            server: server.clone(),
            model: model.to_owned(),
            instance: instance.to_owned(),
            openai: self.client.openai(),
            slots: 1,
        }
    }
}

/// Models change rarely: every so many rounds.
const MODELS_EVERY: u32 = 15;

/// The connection there is, and which answers over it still count. Whatever is sent carries the generation of its connection, and
/// each probe a number: what an older one brings after a newer one has ended is not wanted.
#[derive(Default)]
pub(super) struct Contact {
    connection: Option<Connection>,
    /// The same, for those who ask nobody.
    shown: watch::Sender<Option<Connection>>,
    generation: u64,
    /// Probes that were begun, over all connections.
    begun: u64,
    /// The newest of those that have ended, or that do not count any more.
    ended: u64,
    /// One that runs is searched for at its address.
    searching: bool,
    /// Something happened while a probe was under way: probe once more after it.
    again: bool,
    rounds: u32,
    listed: bool,
}

/// A probe that may be sent.
pub(super) struct Ticket {
    pub generation: u64,
    pub number: u64,
    pub connection: Connection,
}

impl Contact {
    /// What the connection before brings is not wanted any more.
    pub fn open(&mut self, connection: Connection) {
        self.renew();
        self.listed = false;
        self.searching = false;
        self.shown.send_replace(Some(connection.clone()));
        self.connection = Some(connection);
    }

    pub fn close(&mut self) {
        self.renew();
        self.searching = false;
        self.shown.send_replace(None);
        self.connection = None;
    }

    /// From now on nothing counts that was sent before. Gives the new generation.
    pub fn renew(&mut self) -> u64 {
        self.generation += 1;
        self.ended = self.begun;
        self.generation
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn is_current(&self, generation: u64) -> bool {
        generation == self.generation
    }

    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Follows the connection from outside of the actor.
    pub fn shown(&self) -> watch::Receiver<Option<Connection>> {
        self.shown.subscribe()
    }

    pub fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// One search at a time, and none beside a probe. Whether it may begin.
    pub fn begin_search(&mut self) -> bool {
        !self.is_probing() && !std::mem::replace(&mut self.searching, true)
    }

    pub fn end_search(&mut self) {
        self.searching = false;
    }

    /// Whether the newest probe is still under way. What an older one brings is not wanted: nothing waits for its end.
    pub fn is_probing(&self) -> bool {
        self.ended < self.begun
    }

    /// Also beside a probe under way: that one may have been answered already.
    pub fn begin_probe(&mut self) -> Option<Ticket> {
        let connection = self.connection.clone()?;
        self.begun += 1;
        Some(Ticket { generation: self.generation, number: self.begun, connection })
    }

    /// Whether what this probe brings is news.
    pub fn end_probe(&mut self, number: u64) -> bool {
        let news = number >= self.ended;
        self.ended = self.ended.max(number);
        news
    }

    /// The number of the newest probe.
    pub fn newest(&self) -> u64 {
        self.begun
    }

    pub fn probe_again(&mut self) {
        self.again = true;
    }

    pub fn takes_again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    /// Counts a round; gives how many there were.
    pub fn next_round(&mut self) -> u32 {
        self.rounds = self.rounds.wrapping_add(1);
        self.rounds
    }

    /// Counts a round; whether it is time for the list of models.
    pub fn next_round_lists(&mut self) -> bool {
        self.next_round().is_multiple_of(MODELS_EVERY) || !self.listed
    }

    /// The models of this connection are known.
    pub fn listed(&mut self) {
        self.listed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeServer;
    use pilothouse_servers::ServerAdapter;

    fn connection() -> Connection {
        let endpoint = Endpoint { base_url: "http://127.0.0.1:1".into(), key: None };
        Connection { client: FakeServer::new("a").client(&endpoint), endpoint }
    }

    fn open() -> Contact {
        let mut contact = Contact::default();
        contact.open(connection());
        contact
    }

    /// In which order probes end, and which of them bring news.
    #[test]
    fn what_an_older_probe_brings_after_a_newer_one_is_dropped() {
        let table: [&[(u64, bool, bool)]; 6] = [
            // (number, whether it is news, whether the newest is still under way)
            &[(1, true, true), (2, true, true), (3, true, false)],
            &[(3, true, false), (1, false, false), (2, false, false)],
            &[(3, true, false), (2, false, false), (1, false, false)],
            &[(2, true, true), (1, false, true), (3, true, false)],
            &[(2, true, true), (3, true, false), (1, false, false)],
            &[(1, true, true), (3, true, false), (2, false, false)],
        ];
        for order in table {
            let mut contact = open();
            let numbers: Vec<u64> =
                (0..3).filter_map(|_| contact.begin_probe()).map(|one| one.number).collect();
            assert_eq!(numbers, [1, 2, 3]);
            for (number, news, probing) in order {
                assert_eq!(contact.end_probe(*number), *news, "{number} of {order:?}");
                assert_eq!(contact.is_probing(), *probing, "after {number} of {order:?}");
            }
            assert_eq!(contact.newest(), 3);
        }
    }

    #[test]
    fn nothing_counts_that_was_sent_over_an_earlier_connection() {
        let acts: [fn(&mut Contact); 3] = [
            |contact| contact.open(connection()),
            Contact::close,
            |contact| {
                let _ = contact.renew();
            },
        ];
        for act in acts {
            let mut contact = open();
            let sent = contact.begin_probe().unwrap();
            assert!(contact.is_current(sent.generation));
            act(&mut contact);
            assert!(!contact.is_current(sent.generation) && !contact.is_probing());
        }
        let mut contact = open();
        contact.close();
        assert!(!contact.is_open() && contact.begin_probe().is_none() && contact.newest() == 0);
    }

    #[test]
    fn one_search_at_a_time_and_none_beside_a_probe() {
        let mut contact = Contact::default();
        assert!(contact.begin_search() && !contact.begin_search());
        contact.end_search();
        assert!(contact.begin_search());
        contact.open(connection());
        let number = contact.begin_probe().unwrap().number;
        assert!(!contact.begin_search());
        contact.end_probe(number);
        assert!(contact.begin_search(), "a refused search leaves no mark");
    }

    #[test]
    fn models_are_listed_first_and_then_now_and_again() {
        let mut contact = open();
        assert!(contact.next_round_lists() && contact.next_round_lists(), "until a list has come");
        contact.listed();
        let lists: Vec<u32> = (3..=45).filter(|_| contact.next_round_lists()).collect();
        assert_eq!(lists, [15, 30, 45]);
        contact.open(connection());
        assert!(contact.next_round_lists(), "another connection may lead to other models");
    }

    #[test]
    fn once_more_is_once() {
        let mut contact = open();
        contact.probe_again();
        assert!(contact.takes_again() && !contact.takes_again());
    }
}
