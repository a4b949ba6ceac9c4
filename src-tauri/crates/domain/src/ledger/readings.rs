//! What a ledger is drawn up from.

use crate::{
    container::Containers,
    gauge::Gauges,
    model::{Instance, Model},
    server::ServerId,
};

/// A server, as far as the ledger needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct KnownServer<'a> {
    pub id: &'a ServerId,
    pub title: &'a str,
    /// Who keeps its process, in words.
    pub keeper: Option<&'a str>,
    /// It runs on another machine: what it holds is not here.
    pub elsewhere: bool,
}

/// Everything that is known at one moment of who holds memory.
#[derive(Debug, Clone)]
pub struct Readings<'a> {
    pub gauges: &'a Gauges,
    pub servers: Vec<KnownServer<'a>>,
    pub models: Vec<&'a Model>,
    pub instances: &'a [Instance],
    pub containers: Option<&'a Containers>,
}

impl Readings<'_> {
    pub(super) fn server(&self, id: &ServerId) -> Option<&KnownServer<'_>> {
        self.servers.iter().find(|server| server.id == id)
    }

    pub(super) fn model(&self, server: &ServerId, name: &str) -> Option<&Model> {
        self.models.iter().copied().find(|model| model.server == *server && model.name == name)
    }

    pub(super) fn is_elsewhere(&self, server: &ServerId) -> bool {
        self.server(server).is_some_and(|server| server.elsewhere)
    }

    /// The title of a model, or its name when it is not listed.
    pub(super) fn model_title(&self, server: &ServerId, name: &str) -> String {
        self.model(server, name).map_or_else(|| name.to_owned(), |model| model.title.clone())
    }

    /// The title of a server, or its id when it is not listed.
    pub(super) fn server_title(&self, id: &ServerId) -> String {
        self.server(id).map_or_else(|| id.to_string(), |server| server.title.to_owned())
    }
}
