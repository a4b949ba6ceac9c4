//! Which containers have a problem, and when a person is told of it: once per incident.

use super::{ContainerHealth, ContainerProblem, ContainerReading, ContainerState, Containers};
use crate::{Timestamp, notice::Happening};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Readings in a row without the problem, after which its next coming is a new incident (ten minutes at one reading every ten
/// seconds): a container that flaps is told of once. Readings are counted and not minutes, so that a machine that slept or a
/// clock that jumped ends no incident.
const CALM_READINGS: u32 = 60;
/// Starts by the engine within `RESTART_READINGS` that make a container one that keeps restarting.
const RESTARTS: u32 = 3;
/// Five minutes at one reading every ten seconds.
const RESTART_READINGS: usize = 30;
/// A failure that is older is history: it says nothing about now.
const FAILURE_HOURS: i64 = 24;

/// Remembers what was told, and the counts of restarts.
#[derive(Debug, Default)]
pub struct Watch {
    /// By the container's name (its id changes when it is made anew): readings in a row without the problem.
    told: BTreeMap<(String, ContainerProblem), u32>,
    /// By id: the counts of the last readings, oldest first.
    restarts: HashMap<String, VecDeque<u32>>,
    watching: bool,
}

impl Watch {
    /// The engine could not be asked. What has ended by the next reading has ended unseen.
    pub fn lost_sight(&mut self) {
        self.watching = false;
        self.restarts.clear();
    }

    /// Sets each container's problem, puts those with one first, and gives what a person is to be told.
    pub fn judge(&mut self, containers: &mut Containers) -> Vec<Happening> {
        self.restarts.retain(|id, _| containers.list.iter().any(|one| one.id == *id));
        let at = containers.at;
        for one in &mut containers.list {
            one.problem = self.problem(one, at);
        }
        containers.list.sort_by(|a, b| (a.problem.is_none(), &a.name).cmp(&(b.problem.is_none(), &b.name)));
        for calm in self.told.values_mut() {
            *calm += 1;
        }
        let mut news: BTreeMap<ContainerProblem, Vec<ContainerReading>> = BTreeMap::new();
        for (one, problem) in containers.with_problem() {
            let is_news = self.told.insert((one.name.clone(), problem), 0).is_none();
            // What had failed before we looked may be long known to everybody.
            if is_news && (self.watching || problem != ContainerProblem::Failed) {
                news.entry(problem).or_default().push(one.clone());
            }
        }
        self.told.retain(|_, calm| *calm < CALM_READINGS);
        self.watching = true;
        let told = |(problem, containers)| Happening::ContainersInTrouble { problem, containers };
        news.into_iter().map(told).collect()
    }

    fn problem(&mut self, one: &ContainerReading, at: Timestamp) -> Option<ContainerProblem> {
        let rise = self.rise(one);
        let waits =
            one.state == ContainerState::Restarting && one.restart_count.is_none_or(|n| n >= RESTARTS);
        if waits || (rise >= RESTARTS && one.state != ContainerState::Exited) {
            return Some(ContainerProblem::KeepsRestarting);
        }
        if one.state.is_up() && one.health == ContainerHealth::Unhealthy {
            return Some(ContainerProblem::Unhealthy);
        }
        let recent = one.since.is_none_or(|since| at.duration_since(since).as_hours() < FAILURE_HOURS);
        (one.ended_badly() && recent).then_some(ContainerProblem::Failed)
    }

    /// By how much the count of restarts has grown lately.
    fn rise(&mut self, one: &ContainerReading) -> u32 {
        let Some(count) = one.restart_count else { return 0 };
        let counts = self.restarts.entry(one.id.clone()).or_default();
        // A person started it anew: the engine counts from zero again.
        if counts.back().is_some_and(|last| *last > count) {
            counts.clear();
        }
        if counts.len() >= RESTART_READINGS {
            counts.pop_front();
        }
        counts.push_back(count);
        counts.front().map_or(0, |first| count - first)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{container, containers},
        *,
    };

    fn unhealthy(name: &str) -> ContainerReading {
        ContainerReading { health: ContainerHealth::Unhealthy, ..container(name) }
    }

    fn ended(name: &str, code: i32) -> ContainerReading {
        ContainerReading { state: ContainerState::Exited, exit_code: Some(code), ..container(name) }
    }

    fn restarted(name: &str, count: u32) -> ContainerReading {
        ContainerReading { restart_count: Some(count), ..container(name) }
    }

    /// What is told of a reading: the problem and the names.
    fn told(watch: &mut Watch, list: Vec<ContainerReading>) -> Vec<(ContainerProblem, Vec<String>)> {
        let names = |happening| match happening {
            Happening::ContainersInTrouble { problem, containers } => {
                (problem, containers.into_iter().map(|one| one.name).collect())
            }
            other => panic!("{other:?}"),
        };
        watch.judge(&mut containers(list)).into_iter().map(names).collect()
    }

    #[test]
    fn two_that_are_unhealthy_at_our_start_are_told_together_and_once() {
        let mut watch = Watch::default();
        let list = || vec![unhealthy("search"), container("db"), unhealthy("admin")];
        let names = vec!["admin".to_owned(), "search".into()];
        assert_eq!(told(&mut watch, list()), [(ContainerProblem::Unhealthy, names)]);
        for _ in 0..200 {
            assert_eq!(told(&mut watch, list()), []);
        }
    }

    #[test]
    fn one_that_flaps_is_told_once_and_one_that_was_well_for_long_again() {
        let mut watch = Watch::default();
        assert_eq!(told(&mut watch, vec![unhealthy("a")]).len(), 1);
        for _ in 0..20 {
            for _ in 0..CALM_READINGS - 1 {
                assert_eq!(told(&mut watch, vec![container("a")]), []);
            }
            assert_eq!(told(&mut watch, vec![unhealthy("a")]), [], "flaps");
        }
        for _ in 0..CALM_READINGS {
            assert_eq!(told(&mut watch, vec![container("a")]), []);
        }
        assert_eq!(told(&mut watch, vec![unhealthy("a")]).len(), 1);
    }

    #[test]
    fn one_that_is_made_anew_under_its_name_is_the_same_incident() {
        let mut watch = Watch::default();
        assert_eq!(told(&mut watch, vec![unhealthy("a")]).len(), 1);
        assert_eq!(told(&mut watch, vec![]), []);
        let anew = ContainerReading { id: "another".into(), ..unhealthy("a") };
        assert_eq!(told(&mut watch, vec![anew]), []);
    }

    #[test]
    fn an_end_with_an_error_is_told_when_it_was_seen_and_not_when_it_is_history() {
        let mut watch = Watch::default();
        assert_eq!(told(&mut watch, vec![ended("old", 1), container("a"), container("b")]), []);
        let list = || vec![ended("old", 1), ended("a", 137), ended("b", 0)];
        assert_eq!(told(&mut watch, list()), [(ContainerProblem::Failed, vec!["a".to_owned()])]);
        assert_eq!(told(&mut watch, list()), []);
        watch.lost_sight();
        let more = vec![ended("old", 1), ended("a", 137), ended("b", 0), ended("c", 1)];
        assert_eq!(told(&mut watch, more), [], "the engine was away: nobody saw it end");
    }

    #[test]
    fn restarts_in_a_short_time_are_told_and_old_ones_are_not() {
        let mut watch = Watch::default();
        assert_eq!(told(&mut watch, vec![restarted("a", 70)]), [], "it may be long ago");
        assert_eq!(told(&mut watch, vec![restarted("a", 72)]), []);
        let news = told(&mut watch, vec![restarted("a", 73)]);
        assert_eq!(news, [(ContainerProblem::KeepsRestarting, vec!["a".to_owned()])]);
        let mut list = containers(vec![]);
        for _ in 0..RESTART_READINGS {
            list = containers(vec![restarted("a", 73)]);
            assert_eq!(watch.judge(&mut list), []);
        }
        assert_eq!(list.list[0].problem, None, "it runs since");
        assert_eq!(told(&mut watch, vec![restarted("a", 0)]), [], "started anew by a person");
    }

    #[test]
    fn one_that_waits_for_its_next_start_is_told_at_once_if_it_has_had_some() {
        let waits = |name: &str, count| ContainerReading {
            state: ContainerState::Restarting,
            ..restarted(name, count)
        };
        let mut watch = Watch::default();
        let news = told(&mut watch, vec![waits("first", 1), waits("often", 9)]);
        assert_eq!(news, [(ContainerProblem::KeepsRestarting, vec!["often".to_owned()])]);
    }

    #[test]
    fn those_with_a_problem_come_first_and_the_rest_by_name() {
        let mut list = containers(vec![container("c"), container("a"), unhealthy("z"), unhealthy("m")]);
        Watch::default().judge(&mut list);
        let names: Vec<&str> = list.list.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["m", "z", "a", "c"]);
    }

    #[test]
    fn a_failure_of_yesterday_is_no_problem_of_today() {
        let hours = |hours: i64| Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_hours(hours);
        let at = |since| ContainerReading { since: Some(hours(since)), ..ended("a", 1) };
        for (since, wanted) in [(23, Some(ContainerProblem::Failed)), (24, None)] {
            let mut list = containers(vec![at(since)]);
            Watch::default().judge(&mut list);
            assert_eq!(list.list[0].problem, wanted, "{since} h");
        }
    }

    #[test]
    fn what_ended_is_not_unhealthy_any_more() {
        let mut list =
            containers(vec![ContainerReading { health: ContainerHealth::Unhealthy, ..ended("a", 0) }]);
        assert_eq!(Watch::default().judge(&mut list), []);
        assert_eq!(list.list[0].problem, None);
    }
}
