//! Finds out which programs connect, off the way of their requests. Looking costs some ten milliseconds of a processor, so many
//! connections are looked for together, those of programs that are known at once, and all programs at most once a second.

use pilothouse_records::Asker;
use pilothouse_system::process::{Caller, callers};
use std::{collections::HashMap, net::SocketAddr, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Connections that wait to be looked for. Of those beyond it, it stays unknown who asks.
const WAITING: usize = 1024;
/// Between two looks at all programs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Programs whose open files are looked at first: those that were found last.
const FAMILIAR: usize = 16;
/// Looks at all programs after which nobody is looked for any more: it has left, or belongs to another user.
const LOOKS: u8 = 3;

type Wanted = (SocketAddr, Asker);

/// Where connections are handed in; it ends with the door.
#[derive(Debug)]
pub(super) struct Askers(mpsc::Sender<Wanted>);

impl Askers {
    pub fn start(port: u16) -> Self {
        let (wanted, waiting) = mpsc::channel(WAITING);
        tokio::spawn(look(port, waiting));
        Self(wanted)
    }

    /// Who is at the other end of a connection: known soon, or never.
    pub fn of(&self, peer: SocketAddr) -> Asker {
        let asker = Asker::default();
        let _ = self.0.try_send((canonical(peer), asker.clone()));
        asker
    }
}

/// A client of IPv4 at a door of IPv6.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

async fn look(port: u16, mut waiting: mpsc::Receiver<Wanted>) {
    let mut familiar: Vec<u32> = vec![];
    let mut next_look = Instant::now();
    let mut wanted: HashMap<SocketAddr, (Asker, u8)> = HashMap::new();
    loop {
        // Those that nobody known has are looked for among all, once the time has come.
        let first = tokio::select! {
            first = waiting.recv() => first,
            () = sleep_until(next_look), if !wanted.is_empty() => {
                let found = callers(port, wanted.keys().copied().collect(), familiar.clone(), true).await;
                // No answer is no evidence that nobody is there, but it is not waited for without an end either.
                take(found.unwrap_or_default(), &mut wanted, &mut familiar);
                wanted.retain(|_, (_, looks)| {
                    *looks += 1;
                    *looks < LOOKS
                });
                next_look = Instant::now() + LOOK_EVERY;
                continue;
            }
        };
        let Some(first) = first else { return };
        wanted.extend([(first.0, (first.1, 0))]);
        while wanted.len() < WAITING
            && let Ok(more) = waiting.try_recv()
        {
            wanted.extend([(more.0, (more.1, 0))]);
        }
        if !familiar.is_empty() {
            let found = callers(port, wanted.keys().copied().collect(), familiar.clone(), false).await;
            take(found.unwrap_or_default(), &mut wanted, &mut familiar);
        }
    }
}

fn take(
    found: Vec<(SocketAddr, Caller)>,
    wanted: &mut HashMap<SocketAddr, (Asker, u8)>,
    familiar: &mut Vec<u32>,
) {
    for (peer, Caller { pid, name }) in found {
        if let Some((asker, _)) = wanted.remove(&peer) {
            asker.is(name, pid);
        }
        familiar.retain(|known| *known != pid);
        familiar.insert(0, pid);
        familiar.truncate(FAMILIAR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_records::Recorder;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn who_connects_is_known_soon_and_of_many_at_once() {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        let askers = Askers::start(address.port());
        let (recorder, _ended) = Recorder::new(0);
        let mut open = vec![];
        for _ in 0..40 {
            let client = TcpStream::connect(address).await.unwrap();
            let (accepted, peer) = door.accept().await.unwrap();
            open.push((client, accepted, recorder.begin_by(Default::default(), askers.of(peer))));
        }
        let known =
            || recorder.in_memory().iter().filter(|one| one.client.pid == Some(std::process::id())).count();
        let until = Instant::now() + Duration::from_secs(20);
        while known() < 40 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(known(), 40);
        assert!(recorder.in_memory().iter().all(|one| one.client.program.is_some()));
    }
}
