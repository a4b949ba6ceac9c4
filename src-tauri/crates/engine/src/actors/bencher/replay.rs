//! A person's own prompts, one after the other.

use super::{
    course::{Course, Place},
    prompt,
    request::Question,
    side::Measured,
};
use pilothouse_domain::{
    bench::{TrialPhase, replay::ReplayPrompt},
    error::ApiError,
};

impl Course {
    /// Each prompt once, in the order of its file. Letters before it make it unlike everything that the server has read, or a
    /// second replay of the same file would be answered from its cache.
    pub async fn replay(&mut self, side: &mut Measured, prompts: &[ReplayPrompt]) -> Result<(), ApiError> {
        let mut rate = None;
        for (number, asked) in (1..).zip(prompts) {
            let place = Place { done: number - 1, total: self.plan.trials, rate, ..Place::default() };
            self.quiet(side, place).await?;
            self.progress(side, TrialPhase::Measured, place, &[]);
            let question = Question {
                prompt: prompt::letters(rand::random()) + &asked.text,
                max_tokens: asked.max_tokens,
                reuses_prefix: false,
                ends_by_itself: true,
            };
            rate = self.one(side, TrialPhase::Measured, question, Some(number)).await?.trial.decode_tok_s;
        }
        Ok(())
    }
}
