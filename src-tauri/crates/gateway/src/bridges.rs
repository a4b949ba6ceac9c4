//! The gateway on the bridges of this machine's containers, as they come and go.

use crate::door::{ConnectionLimits, Listener};
use axum::Router;
use futures_util::future::join_all;
use pilothouse_domain::error::ApiError;
use pilothouse_system::bridges::Bridge;
use std::net::{SocketAddr, SocketAddrV4};
use tokio::sync::watch;

/// The doors on bridges that are open.
#[derive(Default)]
pub(crate) struct Bridges {
    open: Vec<(Bridge, Listener)>,
    /// From where clients may come in by any of them: a container asks the address of the standard network from its own one too.
    networks: watch::Sender<Vec<Bridge>>,
}

impl Bridges {
    /// Opens what is wanted and not open, and closes the rest. `serve` makes what is served at an address. Gives what could not be
    /// opened.
    pub async fn follow(
        &mut self,
        wanted: &[Bridge],
        port: u16,
        serve: impl Fn(SocketAddrV4) -> Router,
    ) -> Vec<ApiError> {
        self.networks.send_replace(wanted.to_vec());
        let (open, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|(bridge, _)| wanted.contains(bridge));
        self.open = open;
        close(gone).await;
        let mut refused = Vec::new();
        for bridge in wanted {
            if self.open.iter().any(|(open, _)| open == bridge) {
                continue;
            }
            match Listener::bind_on(bridge, port, self.networks.subscribe()).await {
                Ok(bound) => {
                    tracing::info!(bridge = bridge.name, address = %bound.address(), "containers may ask here");
                    let router = serve(SocketAddrV4::new(bridge.address, port));
                    let listener = bound.serve(router, ConnectionLimits::own().bridge);
                    self.open.push((bridge.clone(), listener));
                }
                Err(error) => refused.push(error),
            }
        }
        refused
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.iter().map(|(_, listener)| listener.address())
    }

    pub async fn stop(self) {
        close(self.open).await;
    }
}

async fn close(open: Vec<(Bridge, Listener)>) {
    let closing = open.into_iter().map(|(bridge, listener)| async move {
        tracing::info!(bridge = bridge.name, address = %listener.address(), "nobody listens here any more");
        listener.stop().await;
    });
    join_all(closing).await;
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::{Admits, Gateway, KeyRing};
    use pilothouse_leases::Leases;
    use pilothouse_records::Recorder;
    use reqwest::StatusCode;

    async fn gateway() -> Gateway {
        let (admits, recorder) = (Admits::default(), Recorder::new(0).0);
        Gateway::start(0, &admits, Leases::default(), recorder, None, KeyRing::default()).await.unwrap()
    }

    /// On loopback, which is all that a test has for sure.
    fn bridge(last: u8, prefix: u8) -> Bridge {
        Bridge { name: "docker0".into(), address: [127, 0, 0, last].into(), prefix }
    }

    async fn ask(address: SocketAddr) -> Result<(StatusCode, String), reqwest::Error> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("http://{address}/v1/models")).send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    #[tokio::test]
    async fn who_comes_in_by_a_bridge_needs_a_key_even_from_this_machine_and_loopback_stays_as_it_is() {
        let mut gateway = gateway().await;
        assert!(gateway.listen_on_bridges(&[bridge(2, 8), bridge(3, 8)]).await.is_empty());
        let addresses: Vec<SocketAddr> = gateway.bridge_addresses().collect();
        let port = gateway.address().port();
        assert_eq!(addresses, [2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], port))));
        for address in addresses {
            let (status, words) = ask(address).await.unwrap();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{words}");
            assert!(words.contains("pilothouse keys client add NAME"), "{words}");
        }
        assert_eq!(ask(gateway.address()).await.unwrap().0, StatusCode::OK);
        gateway.stop().await;
    }

    #[tokio::test]
    async fn programs_that_only_know_ollama_come_in_by_a_bridge_too_and_by_no_port_that_was_given_up() {
        let mut gateway = gateway().await;
        let (first, second) = (free().await, free().await);
        for port in [first, second] {
            gateway.listen_as_ollama(Some(port)).await.unwrap();
            assert!(gateway.listen_on_bridges(&[bridge(2, 8)]).await.is_empty());
            let addresses: Vec<SocketAddr> = gateway.ollama_bridge_addresses().collect();
            assert_eq!(addresses, [SocketAddr::from(([127, 0, 0, 2], port))]);
            let (status, words) = ask(addresses[0]).await.unwrap();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{words}");
        }
        assert!(ask(SocketAddr::from(([127, 0, 0, 2], first))).await.is_err(), "nobody listens there");
        gateway.listen_as_ollama(None).await.unwrap();
        assert!(ask(SocketAddr::from(([127, 0, 0, 2], second))).await.is_err(), "nobody listens there");
        assert_eq!(gateway.bridge_addresses().count(), 1);
        gateway.stop().await;
    }

    /// A port that nobody holds.
    async fn free() -> u16 {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        listener.unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn who_comes_from_no_network_of_containers_is_not_heard() {
        let mut gateway = gateway().await;
        assert!(gateway.listen_on_bridges(&[bridge(2, 32)]).await.is_empty());
        let address = gateway.bridge_addresses().next().unwrap();
        assert!(ask(address).await.is_err(), "it comes from 127.0.0.1");
        // By the standard network's address, from another network of containers.
        assert!(
            gateway.listen_on_bridges(&[bridge(2, 32), bridge(1, 32)]).await.len() == 1,
            "loopback is held"
        );
        assert_eq!(ask(address).await.unwrap().0, StatusCode::UNAUTHORIZED);
        gateway.stop().await;
    }

    #[tokio::test]
    async fn a_bridge_that_has_gone_is_let_go_and_one_that_is_held_stands_in_nobodys_way() {
        let mut gateway = gateway().await;
        let port = gateway.address().port();
        let stranger = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 3], port))).await.unwrap();
        let refused = gateway.listen_on_bridges(&[bridge(2, 8), bridge(3, 8)]).await;
        assert_eq!(refused.len(), 1);
        assert!(refused[0].message.contains("127.0.0.3 on the bridge docker0"), "{:?}", refused[0]);
        assert!(refused[0].hint.is_some());
        assert_eq!(gateway.bridge_addresses().count(), 1);
        drop(stranger);
        assert!(gateway.listen_on_bridges(&[bridge(3, 8)]).await.is_empty());
        assert_eq!(
            gateway.bridge_addresses().collect::<Vec<_>>(),
            [SocketAddr::from(([127, 0, 0, 3], port))]
        );
        assert!(ask(SocketAddr::from(([127, 0, 0, 2], port))).await.is_err(), "nobody listens there");
        assert!(gateway.listen_on_bridges(&[]).await.is_empty());
        assert_eq!(gateway.bridge_addresses().count(), 0);
        assert_eq!(ask(gateway.address()).await.unwrap().0, StatusCode::OK);
        gateway.stop().await;
    }
}
