//! Conversations that grow turn by turn, each held with a beginning that the server may keep and with one that it cannot know.

use super::{
    course::{Course, Place},
    prompt::{self, Talk},
    request::Question,
    side::Measured,
};
use pilothouse_domain::{
    bench::{BenchPlan, PrefixUse, Trial, TrialPhase, plan::TURNS},
    error::{ApiError, ErrorCode},
    model::Instance,
};

/// Whether the conversations of a plan have room in the context of an instance. Errors: invalid_call.
pub(super) fn fits(plan: &BenchPlan, instance: &Instance) -> Result<(), ApiError> {
    let (Some(turns), Some(context)) = (plan.turns, instance.context) else { return Ok(()) };
    let needed = |turns| Talk::most_tokens(plan.prompt_words, turns, plan.max_tokens);
    if needed(turns) <= context {
        return Ok(());
    }
    let text = format!(
        "A conversation of {turns} turns takes up to {} tokens, and {} has a context of {context}.",
        needed(turns),
        instance.model
    );
    let fewer = (TURNS.0..turns).rev().find(|fewer| needed(*fewer) <= context);
    Err(ApiError::new(ErrorCode::InvalidCall, text).hint(match fewer {
        Some(fewer) => format!("Take fewer turns: --turns {fewer}"),
        None => "Load the model with a larger context.".into(),
    }))
}

/// One of the two ways in which a conversation is held.
#[derive(Clone, Copy)]
struct Way {
    /// The number of the conversation, from 1.
    block: u32,
    turns: u32,
    /// From which its words follow.
    text: u64,
    prefix: PrefixUse,
}

impl Course {
    /// Conversation after conversation, each in both ways; a coin says which is first.
    pub async fn conversations(&mut self, side: &mut Measured, turns: u32) -> Result<(), ApiError> {
        for block in 1..=self.plan.trials {
            let (text, kept_first): (u64, bool) = (rand::random(), rand::random());
            let ways = [PrefixUse::Kept, PrefixUse::New];
            for prefix in if kept_first { ways } else { [ways[1], ways[0]] } {
                // Between conversations and never within one.
                let place = self.place(side, None);
                self.quiet(side, place).await?;
                self.conversation(side, Way { block, turns, text, prefix }).await?;
            }
        }
        Ok(())
    }

    async fn conversation(&mut self, side: &mut Measured, way: Way) -> Result<(), ApiError> {
        let mut talk = Talk::new(way.text, self.plan.prompt_words);
        let own: u64 = rand::random();
        for turn in 1..=way.turns {
            let place = self.place(side, Some((turn, way.turns)));
            self.progress(side, TrialPhase::Measured, place, &[]);
            let first = match way.prefix {
                PrefixUse::Kept => own,
                PrefixUse::New => rand::random(),
            };
            let question = Question {
                prompt: prompt::letters(first) + talk.ask(),
                max_tokens: self.plan.max_tokens,
                // In both ways, so that they differ in nothing but what the server can know.
                reuses_prefix: true,
                ends_by_itself: false,
            };
            let answered = self.asked(side, TrialPhase::Measured, question).await?;
            let trial = Trial {
                block: Some(way.block),
                turn: Some(turn),
                prefix: Some(way.prefix),
                ..answered.trial
            };
            self.take(side, honest(trial)).await?;
            talk.answered(&answered.text);
        }
        Ok(())
    }

    fn place(&self, side: &Measured, turn: Option<(u32, u32)>) -> Place {
        Place {
            done: side.measured().count() as u32,
            total: self.plan.requests(),
            turn,
            rate: side.measured().last().and_then(|trial| trial.decode_tok_s),
            ..Place::default()
        }
    }
}

/// How fast a prompt was read cannot be told where some of it may have come from a cache and nobody says how much.
fn honest(trial: Trial) -> Trial {
    let unknown =
        trial.prefix == Some(PrefixUse::Kept) && trial.turn > Some(1) && trial.cached_tokens.is_none();
    match unknown {
        true => Trial { prefill_tok_s: None, server_prefill_tok_s: None, ..trial },
        false => trial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{bench::PlanAsked, model::Expiry};

    #[test]
    fn a_conversation_needs_room_for_all_its_turns() {
        for (context, turns, hint) in [
            (None, 12, None),
            (Some(16_384), 12, None),
            (Some(4096), 6, None),
            (Some(2048), 6, Some("--turns 3")),
            (Some(1024), 2, Some("a larger context")),
            (Some(0), 2, Some("a larger context")),
        ] {
            let instance = Instance {
                id: "m".into(),
                server: "one".into(),
                model: "m".into(),
                memory_bytes: None,
                gpu_memory_bytes: None,
                context,
                expiry: Expiry::Never,
                pid: None,
                port: None,
                slots: None,
                orphaned_answers: None,
            };
            let plan = PlanAsked { turns: Some(turns), ..PlanAsked::default() }.plan(1, 300).unwrap();
            let refused = fits(&plan, &instance).err();
            assert_eq!(refused.is_some(), hint.is_some(), "{context:?}: {refused:?}");
            let said = refused.and_then(|refused| refused.hint).unwrap_or_default();
            assert!(said.contains(hint.unwrap_or_default()), "{context:?}: {said}");
        }
        let quick = PlanAsked::default().plan(1, 300).unwrap();
        assert!(quick.turns.is_none());
    }
}
