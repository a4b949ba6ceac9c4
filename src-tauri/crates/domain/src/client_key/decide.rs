//! What a key opens.

use super::{ClientKey, KeyScope};

/// What is asked for with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants<'a> {
    /// Which models there are, and whether the address answers.
    Look,
    /// Anything else than to look; by which model is not known yet.
    Answer,
    /// An answer: the name that was asked by, and all that is known of the model behind it.
    AnswerBy(&'a [&'a str]),
}

/// Why a key does not open what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// It may only look.
    Scope,
    /// It may ask, but not for this.
    Model,
}

impl ClientKey {
    /// Whether it opens what is asked for.
    pub fn admits(&self, wants: Wants) -> Result<(), NotAdmitted> {
        match (self.scope, wants) {
            (_, Wants::Look) | (KeyScope::Inference, Wants::Answer) => Ok(()),
            (KeyScope::Read, _) => Err(NotAdmitted::Scope),
            (KeyScope::Inference, Wants::AnswerBy(names)) => match self.may_use(names.iter().copied()) {
                true => Ok(()),
                false => Err(NotAdmitted::Model),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::key, *};

    #[test]
    fn a_key_opens_what_its_scope_and_its_models_say() {
        use NotAdmitted::{Model, Scope};
        use Wants::{Answer, AnswerBy, Look};
        let (all, some) = (key(&[]), key(&["active", "qwen*", "ollama/*-embed"]));
        let reads = ClientKey { scope: KeyScope::Read, ..key(&[]) };
        for (key, wants, wanted) in [
            (&all, Look, Ok(())),
            (&all, Answer, Ok(())),
            (&all, AnswerBy(&["anything"]), Ok(())),
            (&all, AnswerBy(&[]), Ok(())),
            (&some, Look, Ok(())),
            (&some, Answer, Ok(())),
            (&some, AnswerBy(&["active", "gemma"]), Ok(())),
            (&some, AnswerBy(&["gpt-4o", "qwen2.5:7b"]), Ok(())),
            (&some, AnswerBy(&["small", "nomic-embed", "ollama/nomic-embed"]), Ok(())),
            (&some, AnswerBy(&["small", "nomic-embed", "lmstudio/nomic-embed"]), Err(Model)),
            (&some, AnswerBy(&["Active"]), Err(Model)),
            (&some, AnswerBy(&[]), Err(Model)),
            (&reads, Look, Ok(())),
            (&reads, Answer, Err(Scope)),
            (&reads, AnswerBy(&["active"]), Err(Scope)),
        ] {
            assert_eq!(key.admits(wants), wanted, "{:?} {wants:?}", key.models);
        }
    }
}
