//! A set of roles that does not fit, and what would make it fit.

use super::{Circumstances, InMemory};
use crate::{
    error::{ApiError, ErrorCode},
    model::ModelRef,
    units::gigabytes,
};

/// It does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooMuch {
    pub needed_bytes: u64,
    pub free_bytes: u64,
    pub short_bytes: u64,
}

impl TooMuch {
    pub fn error(&self, what: &str) -> ApiError {
        let text = format!(
            "{what} needs {} more than fits: {} to load, {} free once what leaves has left.",
            gigabytes(self.short_bytes),
            gigabytes(self.needed_bytes),
            gigabytes(self.free_bytes)
        );
        ApiError::new(ErrorCode::DoesNotFit, text)
            .hint("Leave a role out, choose a smaller model or context, or unload what others have loaded.")
    }
}

/// What would make it fit: each role that could be left out, the least important first as they are given, and each model of somebody
/// else that could leave. `short_bytes`: of the refusal.
pub fn offers(now: &Circumstances, short_bytes: u64) -> Vec<Offer> {
    let roles = now.wanted.iter().filter(|piece| piece.in_memory != InMemory::Yes).filter_map(|piece| {
        let frees = piece.bytes?;
        Some(Offer {
            roles: piece.roles.clone(),
            unload: None,
            frees_bytes: frees,
            enough: frees >= short_bytes,
        })
    });
    let others = now.others.iter().filter_map(|leaver| {
        let frees = leaver.bytes?;
        let unload = Some(leaver.model.clone());
        Some(Offer { roles: vec![], unload, frees_bytes: frees, enough: frees >= short_bytes })
    });
    let mut offers: Vec<Offer> = roles.chain(others).collect();
    offers.sort_by_key(|offer| !offer.enough);
    offers
}

/// One thing that would make an arrangement fit, or help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Leave these roles out; empty: it is about a model of somebody else.
    pub roles: Vec<String>,
    pub unload: Option<ModelRef>,
    pub frees_bytes: u64,
    pub enough: bool,
}
