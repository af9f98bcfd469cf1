//! Keeps the webhook's certificate: reads the Secret, hands what it holds to the server, and carries out what is due. Every
//! replica serves what is there and makes it if nothing is; the rest is the acting one's to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::certificate::Certificate;
use super::kept::{Kept, Step};
use super::tls::{self, Acceptor};
use crate::error::brief;
use crate::metrics::Metrics;

/// Name of the webhook in its configuration.
pub const NAME: &str = "evictions.chronik.dev";
/// Pause between two looks: a replica serves what another has made no later than this.
const LOOK: Duration = Duration::from_secs(10);
/// Pause after a first certificate was made, and after a failure.
const SOON: Duration = Duration::from_secs(1);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} {name}: {}", brief(source))]
    Kubernetes { what: &'static str, name: String, source: Box<kube::Error> },
    #[error("make a certificate for {host:?}: {source}")]
    Make { host: String, source: rcgen::Error },
    #[error("use the certificate in Secret {secret}: {source}")]
    Use { secret: String, source: tls::Error },
    #[error("ValidatingWebhookConfiguration {0} has no webhook {NAME}")]
    NoWebhook(String),
}

/// The keeper.
pub struct Keeper {
    pub secrets: Api<Secret>,
    pub configurations: Api<ValidatingWebhookConfiguration>,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the ValidatingWebhookConfiguration.
    pub configuration: String,
    /// Host name by which the webhook is called.
    pub host: String,
    /// Whether this process acts.
    pub acts: Arc<AtomicBool>,
    /// Where what is served is put.
    pub served: watch::Sender<Option<Acceptor>>,
    pub metrics: Arc<Metrics>,
}

impl Keeper {
    /// Of these objects, in that namespace.
    pub fn new(
        client: &Client,
        namespace: &str,
        options: &crate::cli::Webhook,
        acts: Arc<AtomicBool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            configurations: Api::all(client.clone()),
            secret: options.secret.clone(),
            configuration: options.configuration.clone(),
            host: options.host.clone().unwrap_or_default(),
            acts,
            served: watch::channel(None).0,
            metrics,
        }
    }

    /// Looks for as long as it is polled.
    pub async fn keep(self) {
        let mut loaded = None;
        loop {
            let pause = match self.look(&mut loaded).await {
                Ok(Step::MakeFirst) => SOON,
                Ok(_) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "keep the webhook's certificate");
                    SOON
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One look, and one step.
    async fn look(&self, loaded: &mut Option<Certificate>) -> Result<Step, Error> {
        let secret = self.secrets.get(&self.secret).await.map_err(|e| self.of_secret("read Secret", e))?;
        let kept = Kept::read(secret.data.as_ref().unwrap_or(&Default::default()));
        if let Some(served) = kept.served.as_ref().filter(|served| loaded.as_ref() != Some(served)) {
            self.load(served)?;
            *loaded = Some(served.clone());
        }
        let acts = self.acts.load(Ordering::Relaxed);
        let trusted = if acts { self.trusted().await? } else { kept.authorities() };
        let step = kept.step(&trusted, Timestamp::now());
        match step {
            Step::MakeFirst => self.write(secret, &Kept::first(self.make()?)).await?,
            Step::MakeNext if acts => self.write(secret, &kept.with_next(self.make()?)).await?,
            Step::TakeNext if acts => self.write(secret, &kept.with_next_taken()).await?,
            Step::Publish if acts => self.publish(kept.authorities()).await?,
            _ => {}
        }
        Ok(step)
    }

    fn load(&self, certificate: &Certificate) -> Result<(), Error> {
        let acceptor = tls::acceptor(&certificate.certificate, &certificate.key)
            .map_err(|source| Error::Use { secret: self.secret.clone(), source })?;
        self.served.send_replace(Some(acceptor));
        self.metrics.certificate_expires(certificate.expires().as_second());
        tracing::info!(made = %certificate.made, "serve the webhook with this certificate");
        Ok(())
    }

    fn make(&self) -> Result<Certificate, Error> {
        Certificate::make(&self.host, Timestamp::now())
            .map_err(|source| Error::Make { host: self.host.clone(), source })
    }

    /// Replaces what was read, unless another was faster: the next look sees what that one wrote.
    async fn write(&self, read: Secret, kept: &Kept) -> Result<(), Error> {
        let secret = Secret { data: Some(kept.data()), ..read };
        match self.secrets.replace(&self.secret, &PostParams::default(), &secret).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(self.of_secret("write Secret", error)),
        }
    }

    /// The authorities that the API server trusts.
    async fn trusted(&self) -> Result<String, Error> {
        let found = self.configurations.get(&self.configuration).await;
        let found = found.map_err(|e| self.of_configuration("read ValidatingWebhookConfiguration", e))?;
        let webhook = found.webhooks.into_iter().flatten().find(|webhook| webhook.name == NAME);
        let webhook = webhook.ok_or_else(|| Error::NoWebhook(self.configuration.clone()))?;
        let bundle = webhook.client_config.ca_bundle.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bundle.0).into_owned())
    }

    async fn publish(&self, authorities: String) -> Result<(), Error> {
        let bundle = ByteString(authorities.into_bytes());
        let patch = json!({"webhooks": [{"name": NAME, "clientConfig": {"caBundle": bundle}}]});
        let params = PatchParams::default();
        let patched = self.configurations.patch(&self.configuration, &params, &Patch::Strategic(patch)).await;
        patched.map_err(|e| self.of_configuration("patch ValidatingWebhookConfiguration", e))?;
        tracing::info!(configuration = self.configuration, "the API server trusts the webhook's certificate");
        Ok(())
    }

    fn of_secret(&self, what: &'static str, source: kube::Error) -> Error {
        Error::Kubernetes { what, name: self.secret.clone(), source: Box::new(source) }
    }

    fn of_configuration(&self, what: &'static str, source: kube::Error) -> Error {
        Error::Kubernetes { what, name: self.configuration.clone(), source: Box::new(source) }
    }
}
