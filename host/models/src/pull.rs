//! From a model's id to a snapshot in the cache: what the hub has, what is lacking, fetching that, making it visible.

use crate::cancel::Cancel;
use crate::choose::{INDEX, Precision, Selection, choose, components};
use crate::download::Download;
use crate::error::{PullError, TransferError};
use crate::folder::ModelFolder;
use crate::names::{FileName, ModelId, Revision};
use crate::patience::{Patience, Timing, Trouble};
use crate::repository::{Facts, Listing, Repository};
use crate::settings::Hub;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    pub id: ModelId,
    pub revision: Revision,
    pub selection: Selection,
    /// Refuse, before anything is fetched, a pipeline that lacks the weights of a component. Otherwise it is pulled
    /// without them, and [`Pulled::without_weights`] names the component.
    pub needs_all_weights: bool,
}

/// The only network of a pipeline that none loads.
const UNUSED: &str = "safety_checker";

/// What a pull does at the moment.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another pull of the model is under way.
    Waiting { lock: &'a Path },
    /// Bytes of all chosen files that are there, and that there will be.
    Progress { file: &'a FileName, done: u64, total: u64 },
    /// Something went wrong that may pass.
    Retrying { error: &'a TransferError, wait: Duration },
}

/// A model that is in the cache.
#[derive(Debug, PartialEq, Eq)]
pub struct Pulled {
    pub folder: PathBuf,
    pub commit: String,
    pub files: usize,
    pub bytes: u64,
    /// Of `bytes`, those that were not there before.
    pub fetched: u64,
    /// Components with a configuration for which the repository has no weights that are fetched.
    pub without_weights: Vec<String>,
}

struct Pull<'a> {
    hub: &'a Hub,
    wish: &'a Wish,
    cancel: &'a Cancel,
    repository: Repository<'a>,
    folder: ModelFolder,
}

impl Hub {
    /// Fetches what is lacking of a model. Blocks; a pull that ends early goes on from there when it is asked for again.
    pub fn pull(
        &self,
        wish: &Wish,
        cancel: &Cancel,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Pulled, PullError> {
        if self.is_offline {
            return Err(PullError::Offline { id: wish.id.clone() });
        }
        let repository = Repository::new(self, &wish.id, &wish.revision);
        let folder = ModelFolder::new(&self.cache, &wish.id);
        Pull { hub: self, wish, cancel, repository, folder }.run(report)
    }

    /// What a pull would fetch, if nothing of it were here: how many files, and how many bytes, where the hub tells.
    /// Blocks for about as long as `limit` at most.
    pub fn measure(&self, wish: &Wish, limit: Duration) -> Result<(usize, Option<u64>), PullError> {
        // For the listing, and for the index of a pipeline.
        let request = Some(limit / 2);
        let hub = Self { timing: Timing { request, tries: 1, ..self.timing }, ..self.clone() };
        let repository = Repository::new(&hub, &wish.id, &wish.revision);
        let folder = ModelFolder::new(&hub.cache, &wish.id);
        let cancel = &Cancel::default();
        let pull = Pull { hub: &hub, wish, cancel, repository, folder };
        let url = pull.repository.sizes_url();
        let listing = pull.ask(&url, &mut |_| (), || pull.repository.listing(&url))?;
        let files = pull.choose(&listing, &mut |_| ())?;
        let sizes = files.iter().map(|file| listing.sizes.get(file).copied());
        let bytes = sizes.reduce(|sum, size| Some(sum?.saturating_add(size?))).flatten();
        Ok((files.len(), bytes))
    }
}

impl Pull<'_> {
    fn run(&self, report: &mut dyn FnMut(Event<'_>)) -> Result<Pulled, PullError> {
        let url = self.repository.listing_url();
        let listing = self.ask(&url, report, || self.repository.listing(&url))?;
        let files = self.choose(&listing, report)?;
        let files = self.facts(&listing.commit, files, report)?;
        // Only a model that exists gets a folder.
        self.folder.create()?;
        let _lock = self.folder.lock(self.cancel, report)?;
        let (bytes, fetched) = self.fetch(&listing.commit, &files, report)?;
        let folder = self.folder.publish(&listing.commit, &self.wish.revision, &files)?;
        Ok(Pulled {
            folder,
            commit: listing.commit,
            files: files.len(),
            bytes,
            fetched,
            without_weights: without_weights(files.iter().map(|(file, _)| file)),
        })
    }

    fn choose(
        &self,
        listing: &Listing,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<FileName>, PullError> {
        let precision = match &self.wish.selection {
            Selection::Files(files) => return self.named(listing, files),
            Selection::Pipeline(precision) => *precision,
        };
        let index = listing.files.iter().find(|file| file.as_str() == INDEX);
        let components = index.map(|file| self.components(listing, file, report)).transpose()?;
        let chosen = choose(&listing.files, components.as_ref(), precision);
        let has_something = chosen
            .iter()
            .any(|file| components.is_some() || file.as_str().ends_with(".safetensors"));
        let id = self.wish.id.clone();
        if !has_something {
            return Err(PullError::NothingChosen { id });
        }
        let components = without_weights(chosen.iter());
        match self.wish.needs_all_weights && !components.is_empty() {
            true => Err(PullError::NoWeights { id, components }),
            false => Ok(chosen),
        }
    }

    fn named(&self, listing: &Listing, files: &[FileName]) -> Result<Vec<FileName>, PullError> {
        let (id, revision) = (&self.wish.id, &self.wish.revision);
        match files.iter().find(|file| !listing.files.contains(file)) {
            Some(file) => {
                let (id, revision, file) = (id.clone(), revision.clone(), file.clone());
                Err(PullError::NoFile { id, revision, file })
            }
            None => Ok(files.to_vec()),
        }
    }

    fn components(
        &self,
        listing: &Listing,
        index: &FileName,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<BTreeSet<String>, PullError> {
        let url = self.repository.file_url(&listing.commit, index);
        let index = self.ask(&url, report, || self.repository.index(&listing.commit, index))?;
        Ok(components(&index))
    }

    fn facts(
        &self,
        commit: &str,
        files: Vec<FileName>,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<(FileName, Facts)>, PullError> {
        let mut all = Vec::new();
        for file in files {
            let url = self.repository.file_url(commit, &file);
            let facts = self.ask(&url, report, || self.repository.facts(commit, &file))?;
            all.push((file, facts));
        }
        Ok(all)
    }

    /// Gives the bytes of all files, and how many of them were not there.
    fn fetch(
        &self,
        commit: &str,
        files: &[(FileName, Facts)],
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<(u64, u64), PullError> {
        let mut lacking: u64 = 0;
        // Equal files, as two tokenizers have them, are one blob.
        let blobs: BTreeMap<_, _> =
            files.iter().map(|(_, facts)| (&facts.checksum, facts)).collect();
        for facts in blobs.into_values() {
            lacking = lacking.saturating_add(self.folder.lacking(facts)?);
        }
        self.folder.check_space(lacking)?;
        let total = files.iter().fold(0, |sum: u64, (_, facts)| sum.saturating_add(facts.size));
        let mut before: u64 = 0;
        for (file, facts) in files {
            let url = &self.repository.file_url(commit, file);
            let (repository, folder) = (&self.repository, &self.folder);
            let (timing, cancel) = (self.hub.timing, self.cancel);
            Download { repository, folder, timing, cancel, file, facts, url, before, total }
                .run(report)?;
            before = before.saturating_add(facts.size);
            report(Event::Progress { file, done: before, total });
        }
        Ok((total, lacking))
    }

    fn ask<T>(
        &self,
        url: &str,
        report: &mut dyn FnMut(Event<'_>),
        attempt: impl Fn() -> Result<T, Trouble>,
    ) -> Result<T, PullError> {
        let attempt = || match self.cancel.is_cancelled() {
            true => Err(PullError::Cancelled.into()),
            false => attempt(),
        };
        Patience::new(self.hub.timing, self.cancel, url).hold(report, attempt)
    }
}

impl Wish {
    /// What a pipeline needs of a model, as it is on its main branch.
    pub fn new(id: ModelId) -> Self {
        Self {
            id,
            revision: Revision::main(),
            selection: Selection::Pipeline(Precision::default()),
            needs_all_weights: false,
        }
    }
}

/// Folders with `config.json`, which is what networks have, and without weights.
fn without_weights<'f>(files: impl Iterator<Item = &'f FileName> + Clone) -> Vec<String> {
    let names = || files.clone().filter_map(|file| file.as_str().rsplit_once('/'));
    let has_weights =
        |folder: &str| names().any(|(of, name)| of == folder && name.ends_with(".safetensors"));
    let networks = names().filter(|(_, name)| *name == "config.json").map(|(folder, _)| folder);
    let lacking = networks.filter(|folder| *folder != UNUSED && !has_weights(folder));
    lacking.map(str::to_owned).collect()
}
