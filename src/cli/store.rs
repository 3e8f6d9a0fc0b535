//! `linkgate store`: the rare moments when an operator has to decide.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{Common, Outcome};
use crate::app;
use crate::clock::SystemClock;
use crate::config::StoreConfig;
use crate::process;
use crate::revocation::Index;
use crate::telemetry::say;

/// Look after the revocation store.
#[derive(Subcommand)]
pub enum Store {
    /// Set up a Redis that is empty.
    ///
    /// A Redis that had been set up before and is empty now, or is another one than before, is not trusted: links that were
    /// revoked would work again. `--accept-loss` says that they may.
    Init {
        /// Yes, revocations that no running linkgate remembers are lost.
        #[arg(long)]
        accept_loss: bool,
    },
}

impl Store {
    pub fn run(self, common: &Common) -> Outcome {
        let Self::Init { accept_loss } = self;
        let config = common.load_quietly()?;
        app::create_data_dir(&config.data_dir)?;
        process::runtime()?.block_on(async {
            if config.store == StoreConfig::Embedded {
                bail!("the embedded store is set up by itself");
            }
            let store = app::open_redis(&config, Arc::new(Index::default()), Arc::new(SystemClock::new()))?;
            if accept_loss {
                return Ok(store.accept_loss().await?);
            }
            store.init().await.context(
                "links that were revoked in the lost store will work again: say --accept-loss if that is acceptable",
            )
        })?;
        say("the store is set up; every running linkgate takes it up within seconds");
        Ok(())
    }
}
