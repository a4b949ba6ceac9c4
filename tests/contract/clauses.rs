//! What the rest of Pilothouse relies on, whatever the server is.

use crate::tools::until;
use anyhow::{Context, Result};
use futures_util::StreamExt;
use pilothouse_domain::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, ModelPurpose},
};
use pilothouse_servers::{
    GenerateEnd, GenerateRequest, LoadProgress, LoadRequest, ServerAdapter, ServerClient,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// One server under the contract.
pub struct Subject<'a> {
    pub adapter: &'a dyn ServerAdapter,
    pub client: &'a dyn ServerClient,
    /// A small model that it has.
    pub model: &'a str,
    /// Whether a raw answer has exactly the wanted number of tokens (the server can ignore the end token).
    pub exact_length: bool,
    /// Whether the end of an answer counts its tokens itself.
    pub counts: bool,
    /// Whether this version tells its own rate of answering, of those whose adapter can.
    pub tells_rate: bool,
    /// The same of a message through the chat template.
    pub tells_rate_of_messages: bool,
    /// Whether this version tells sizes, of those whose adapter can.
    pub tells_size: bool,
}

/// All clauses but the one about the server's end, for a server on this machine.
pub async fn contract(subject: &Subject<'_>) -> Result<()> {
    contract_at(subject, "http://127.0.0.1:").await
}

/// The same for a server whose address begins like this.
pub async fn contract_at(subject: &Subject<'_>, address: &str) -> Result<()> {
    subject.tells_its_version(address).await?;
    subject.lists_the_model().await?;
    subject.refuses_an_unknown_model().await;
    let instance = subject.loads_once().await.context("load")?;
    subject.answers_a_raw_prompt(&instance.id).await.context("raw answer")?;
    subject.answers_a_message(&instance.id).await.context("chat answer")?;
    subject.forgets_a_dropped_answer(&instance.id).await.context("dropped answer")?;
    subject.stays_loaded_as_it_was(&instance).await?;
    subject.keeps_without_a_change(&instance).await.context("keep")?;
    subject.unloads(&instance.id).await.context("unload")?;
    subject.loads_with_what_it_takes_and_refuses_the_rest(&instance).await.context("loads of other kinds")?;
    subject.recovers_from_a_dropped_load().await.context("dropped load")
}

/// The clauses for a server of which only the OpenAI-compatible API is known.
pub async fn remote_contract(subject: &Subject<'_>) -> Result<()> {
    let models = subject.client.models().await?;
    anyhow::ensure!(models.iter().any(|model| model.name == subject.model), "not listed: {models:?}");
    assert_eq!(subject.client.instances().await?, [], "what is in its memory is not told");
    subject.refuses_an_unknown_model().await;
    let instance = subject.load(subject.model).await?;
    subject.answers_a_raw_prompt(&instance.id).await.context("raw answer")?;
    subject.answers_a_message(&instance.id).await.context("chat answer")?;
    subject.forgets_a_dropped_answer(&instance.id).await.context("dropped answer")?;
    subject.client.unload(&instance.id).await.context("nothing to do is no error")
}

/// The clause about a server that is gone.
pub async fn gone(client: &dyn ServerClient) {
    let error = client.health().await.expect_err("a stopped server answered");
    assert_eq!(error.code, ErrorCode::Unreachable, "{error}");
    assert!(error.retry, "it may come back");
    assert_eq!(client.instances().await.expect_err("a stopped server listed").code, ErrorCode::Unreachable);
}

impl Subject<'_> {
    async fn tells_its_version(&self, address: &str) -> Result<()> {
        let health = self.client.health().await.context("health")?;
        if self.adapter.abilities().start {
            assert!(health.version.is_none_or(|version| !version.is_empty()));
        }
        let openai = self.client.openai();
        assert!(
            openai.base_url.starts_with(address) && openai.base_url.ends_with("/v1"),
            "{address} {openai:?}"
        );
        Ok(())
    }

    async fn lists_the_model(&self) -> Result<()> {
        let models = self.client.models().await.context("models")?;
        let model = models.iter().find(|model| model.name == self.model);
        let model = model.with_context(|| format!("{} is not listed: {models:?}", self.model))?;
        assert_eq!(model.server, self.adapter.id());
        assert_eq!(model.purpose, ModelPurpose::Llm);
        assert!(!model.title.is_empty());
        assert!(model.format.as_ref().is_some_and(|format| !format.is_empty()), "{model:?}");
        assert!(model.quantization.as_ref().is_some_and(|name| !name.is_empty()), "{model:?}");
        if self.adapter.abilities().model_size && self.tells_size {
            assert!(model.size_bytes.is_some_and(|bytes| bytes > 1 << 20), "{model:?}");
        }
        Ok(())
    }

    async fn refuses_an_unknown_model(&self) {
        let error = self.load("no-such-model").await.expect_err("an unknown model was loaded");
        assert!(matches!(error.code, ErrorCode::NotFound | ErrorCode::LoadFailed), "{error:?}");
        assert!(error.message.contains("no-such-model"), "{error}");
    }

    /// A load is there when it returns, and a second one finds it.
    async fn loads_once(&self) -> Result<Instance> {
        assert_eq!(self.loaded().await?, [""; 0], "nothing is loaded at first");
        let told = Arc::<Mutex<Vec<f64>>>::default();
        let noted = told.clone();
        let progress: LoadProgress =
            Arc::new(move |done| noted.lock().unwrap_or_else(PoisonError::into_inner).push(done));
        let instance = self.client.load(&LoadRequest::usual(self.model), progress).await?;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(!told.is_empty(), self.adapter.abilities().load_progress, "how far the load had come");
        assert!(told.iter().all(|done| (0.0..=1.0).contains(done)) && told.is_sorted(), "{told:?}");
        assert_eq!((instance.model.as_str(), &instance.server), (self.model, &self.adapter.id()));
        if self.adapter.abilities().instance_context {
            assert!(instance.context.is_some_and(|tokens| tokens >= 256), "{instance:?}");
        }
        assert!(instance.memory_bytes != Some(0) && instance.gpu_memory_bytes <= instance.memory_bytes);
        assert_eq!(self.loaded().await?, [instance.id.as_str()]);
        let again = self.load(self.model).await.context("second load")?;
        assert_eq!(again.id, instance.id);
        assert_eq!(self.loaded().await?, [instance.id.as_str()], "a second load made a twin");
        Ok(instance)
    }

    async fn answers_a_raw_prompt(&self, instance: &str) -> Result<()> {
        let (text, end) = self.answer(&request(instance, "Once upon a time", 16, true)).await?;
        assert!(!text.trim().is_empty());
        self.check_counts(&end, 16);
        if self.exact_length {
            assert_eq!((end.output_tokens, end.finish.as_deref()), (Some(16), Some("length")), "{end:?}");
            // The same words again: without the prompt cache there is nothing to reuse.
            let (_, again) = self.answer(&request(instance, "Once upon a time", 16, true)).await?;
            assert_eq!(again.cached_tokens, Some(0), "{again:?}");
        }
        if self.adapter.abilities().timings && self.tells_rate {
            assert!(end.decode_tok_s.is_some_and(|rate| rate.is_finite() && rate > 0.0), "{end:?}");
        }
        Ok(())
    }

    async fn answers_a_message(&self, instance: &str) -> Result<()> {
        let (text, end) = self.answer(&request(instance, "Say hello.", 12, false)).await?;
        assert!(!text.trim().is_empty());
        self.check_counts(&end, 12);
        if self.adapter.abilities().timings && self.tells_rate_of_messages {
            assert!(end.decode_tok_s.is_some_and(|rate| rate.is_finite() && rate > 0.0), "{end:?}");
        }
        Ok(())
    }

    fn check_counts(&self, end: &GenerateEnd, most: u32) {
        if self.counts {
            assert!(end.output_tokens.is_some_and(|tokens| (1..=most).contains(&tokens)), "{end:?}");
            assert!(end.prompt_tokens.is_some_and(|tokens| (2..=80).contains(&tokens)), "{end:?}");
        }
    }

    /// With one request at a time, the next answer can only come after the server let go of the dropped one, and a
    /// server that did not would be busy with it for thousands of tokens.
    async fn forgets_a_dropped_answer(&self, instance: &str) -> Result<()> {
        let mut stream = self.client.generate(&request(instance, "Count: 1 2 3 4 5", 3000, true)).await?;
        let first = stream.next().await.context("no first event")??;
        assert!(first.end.is_none(), "the answer was over at once");
        drop(stream);
        let short = request(instance, "Once upon a time", 4, true);
        let next = tokio::time::timeout(Duration::from_secs(20), self.answer(&short));
        let (text, _) = next.await.context("still busy")??;
        assert!(!text.is_empty());
        Ok(())
    }

    /// Answers change neither which copies are loaded nor their context.
    async fn stays_loaded_as_it_was(&self, instance: &Instance) -> Result<()> {
        let instances = self.copies().await?;
        assert_eq!(instances.len(), 1, "{instances:?}");
        assert_eq!((&instances[0].id, instances[0].context), (&instance.id, instance.context));
        assert_eq!(instances[0].expiry, instance.expiry, "an answer changed how long it stays");
        Ok(())
    }

    /// What is kept stays as it is in all else, and nothing is loaded for it.
    async fn keeps_without_a_change(&self, instance: &Instance) -> Result<()> {
        assert!(!self.client.keep("no-such-model").await?, "it is not in memory");
        let kept = self.client.keep(&instance.id).await?;
        assert!(!kept || self.adapter.abilities().instance_expiry, "what is kept tells that it is");
        let instances = self.copies().await?;
        let same = |one: &Instance| {
            (&one.id, one.context, one.slots) == (&instance.id, instance.context, instance.slots)
        };
        assert!(matches!(&instances[..], [one] if same(one)), "{instances:?}");
        Ok(())
    }

    /// What is said beforehand is what comes of it, and a load as usual is as usual afterwards.
    async fn loads_with_what_it_takes_and_refuses_the_rest(&self, usual: &Instance) -> Result<()> {
        let all = LoadSettings { context: Some(1024), parallel: Some(2), kv_type: Some(KvType::Q8_0) };
        let none = LoadSettings::default();
        assert_eq!(self.client.cannot_load_with(&none), None);
        let context = LoadSettings { context: all.context, ..none };
        let parallel = LoadSettings { parallel: all.parallel, ..none };
        for with in [context, parallel, LoadSettings { kv_type: all.kv_type, ..none }, all] {
            let refused = self.client.cannot_load_with(&with);
            if let Some(error) = &refused {
                assert_eq!((error.code, error.hint.is_some()), (ErrorCode::Unsupported, true), "{error:?}");
            }
            // A context that does not last is refused to a plan and taken by a load.
            if refused.is_some() && with != context {
                let error = self.load_with(with).await.expect_err("it was said that this cannot be");
                assert_eq!(error.code, ErrorCode::Unsupported, "{with:?} {error:?}");
                assert_eq!(self.loaded().await?, [""; 0], "a refusal left something in memory");
                continue;
            }
            let instance = self.load_with(with).await.with_context(|| format!("{with:?}"))?;
            let told = |wanted: Option<u64>, there: Option<u64>| wanted.is_none() || there == wanted;
            assert!(told(with.context, instance.context), "{with:?} {instance:?}");
            assert!(
                told(with.parallel.map(u64::from), instance.slots.map(u64::from)),
                "{with:?} {instance:?}"
            );
            self.client.unload(&instance.id).await?;
        }
        let again = self.load_with(none).await?;
        assert_eq!((again.context, again.slots), (usual.context, usual.slots), "the usual load");
        self.client.unload(&again.id).await?;
        Ok(())
    }

    async fn unloads(&self, instance: &str) -> Result<()> {
        self.client.unload(instance).await?;
        assert_eq!(self.loaded().await?, [""; 0], "unload returned before it was gone");
        self.client.unload(instance).await.context("what is not loaded is no error")?;
        self.client.unload("no-such-model").await.context("what never was is no error")?;
        Ok(())
    }

    /// A switch that is cancelled drops its load and then unloads the target.
    async fn recovers_from_a_dropped_load(&self) -> Result<()> {
        // Whether the load was over by then does not matter.
        let _ = tokio::time::timeout(Duration::from_millis(30), self.load(self.model)).await;
        until("a dropped load can be undone", Duration::from_secs(30), || async {
            self.client.unload(self.model).await.ok()?;
            self.loaded().await.ok().filter(Vec::is_empty)
        })
        .await;
        let instance = self.load(self.model).await.context("load again")?;
        self.client.unload(&instance.id).await?;
        Ok(())
    }

    async fn load(&self, model: &str) -> Result<Instance, ApiError> {
        let quiet: LoadProgress = Arc::new(|_| {});
        self.client.load(&LoadRequest::usual(model), quiet).await
    }

    async fn load_with(&self, with: LoadSettings) -> Result<Instance, ApiError> {
        let request = LoadRequest::new(self.model, with);
        self.client.load(&request, Arc::new(|_| {})).await
    }

    /// The copies of the model under test; a real server may hold others.
    async fn copies(&self) -> Result<Vec<Instance>> {
        let instances = self.client.instances().await?;
        Ok(instances.into_iter().filter(|one| one.model == self.model).collect())
    }

    /// Their ids.
    async fn loaded(&self) -> Result<Vec<String>> {
        Ok(self.copies().await?.into_iter().map(|one| one.id).collect())
    }

    async fn answer(&self, request: &GenerateRequest) -> Result<(String, GenerateEnd)> {
        let mut stream = self.client.generate(request).await?;
        let (mut text, mut end, mut last) = (String::new(), None, None);
        while let Some(event) = stream.next().await {
            let event = event?;
            assert!(last.is_none_or(|last| last <= event.at), "time went backwards");
            assert!(end.is_none() || event.text.is_empty(), "text after the end");
            last = Some(event.at);
            text.push_str(&event.text);
            end = event.end.or(end);
        }
        Ok((text, end.context("the answer was cut off")?))
    }
}

/// Vectors of one length, of which those of like texts are nearer to each other.
pub async fn embeds(client: &dyn ServerClient, instance: &str) -> Result<()> {
    let mut vectors = Vec::new();
    for text in ["The cat sits on the mat.", "A kitten is sitting on a rug.", "The stock market fell today."]
    {
        vectors.push(client.embed(instance, text).await?);
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let [cat, kitten, market] = &vectors[..] else { anyhow::bail!("three texts") };
    anyhow::ensure!(cat.len() == 384 && kitten.len() == 384 && market.len() == 384, "{}", cat.len());
    let (near, far) = (cosine(cat, kitten), cosine(cat, market));
    anyhow::ensure!(near > far + 0.2, "like texts {near}, others {far}");
    Ok(())
}

pub fn request(instance: &str, prompt: &str, max_tokens: u32, raw: bool) -> GenerateRequest {
    GenerateRequest {
        instance: instance.into(),
        prompt: prompt.into(),
        max_tokens,
        raw,
        reuses_prefix: false,
        ends_by_itself: false,
    }
}
