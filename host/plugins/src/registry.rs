//! Which plugins serve which pipelines: a pure decision over all files that were found.

use crate::aliases;
use crate::candidates::{Candidate, Outcome};
use crate::library::Library;
use crate::processors::Named;
use crate::slots::{self, Choosing, Slots};
use host_ports::{
    Claim, ClaimRef, Contribution, PluginReport, PluginState, ResolveError, Withheld,
};
use plugin_api::{ANY_VALUE, Manifest};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What disputes are settled by.
pub(crate) struct Policy<'a> {
    /// `pipeline` name, or `slot/value` of a choice, to plugin id.
    pub pins: &'a HashMap<String, String>,
    pub own_vendor: &'a str,
}

/// The outcome: reports of all files, and the accepted plugins by id.
#[derive(Default)]
pub(crate) struct Registry {
    pub reports: Vec<PluginReport>,
    plugins: BTreeMap<String, Arc<Library>>,
    /// Of all plugins, with slots filled; then those that aliases stand for.
    claims: Vec<Claim>,
}

impl Registry {
    /// Decides. Candidates come in order of importance of their folders.
    pub(crate) fn new(candidates: &[Candidate], policy: &Policy<'_>) -> Self {
        let mut refused: HashMap<usize, String> = HashMap::new();
        let good: Vec<(usize, &Arc<Library>)> = candidates
            .iter()
            .enumerate()
            .filter_map(|(index, candidate)| match &candidate.outcome {
                Outcome::Good(library) => Some((index, library)),
                Outcome::Bad { .. } => None,
            })
            .collect();
        let mut chosen = choose_versions(candidates, &good, &mut refused);
        settle_disputes(&mut chosen, policy, &mut refused);
        let (claims, mut withheld) = claims(chosen.values().map(|(_, library)| &library.manifest));
        let report_one = |(index, candidate): (usize, &Candidate)| {
            let refused = refused.remove(&index);
            let withheld = match (&candidate.outcome, &refused) {
                (Outcome::Good(library), None) => withheld.remove(library.id()),
                _ => None,
            };
            report(candidate, refused, withheld.unwrap_or_default())
        };
        let reports = candidates.iter().enumerate().map(report_one).collect();
        let plugins =
            chosen.into_values().map(|(_, library)| (library.id().into(), library.clone()));
        Self { reports, plugins: plugins.collect(), claims }
    }

    pub(crate) fn plugin(&self, id: &str) -> Option<&Arc<Library>> {
        self.plugins.get(id)
    }

    /// What the params of a claim name for the pipeline to open.
    pub(crate) fn named(&self, claim: &plugin_api::Claim, params: &Map<String, Value>) -> Named {
        let mut named = Named::default();
        for choosing in slots::chosen(&claim.params, params) {
            let name = choosing.value.to_owned();
            if let Some(without) = choosing.without {
                named.without.insert(name.clone(), without.to_owned());
            }
            match self.contributor(&choosing) {
                Some(library) => drop(named.found.insert(name, library.clone())),
                None if choosing.is_own => {}
                None => named.missing.push(name),
            }
        }
        named
    }

    /// Who has a value of a slot: by its name, else among all.
    fn contributor(&self, choosing: &Choosing<'_>) -> Option<&Arc<Library>> {
        let find = |value: &str| {
            self.plugins.values().find(|library| library.contributes(choosing.slot, value))
        };
        let among_all = || if choosing.is_own { None } else { find(ANY_VALUE) };
        find(choosing.value).or_else(among_all)
    }

    /// Whether a library's copy may still be loaded or asked.
    pub(crate) fn has_hash(&self, hash: &str) -> bool {
        self.plugins.values().any(|library| library.hash == hash)
    }

    pub(crate) fn claims(&self) -> Vec<Claim> {
        self.claims.clone()
    }

    pub(crate) fn resolve(
        &self,
        pipeline: &str,
        model_id: Option<&str>,
    ) -> Result<Claim, ResolveError> {
        let named: Vec<&Claim> =
            self.claims.iter().filter(|claim| claim.pipeline == pipeline).collect();
        if named.is_empty() {
            let on_offer: BTreeSet<&String> =
                self.claims.iter().map(|claim| &claim.pipeline).collect();
            let on_offer = on_offer.into_iter().cloned().collect();
            return Err(ResolveError::UnknownPipeline { pipeline: pipeline.into(), on_offer });
        }
        let has = |claim: &&&Claim, model: &str| {
            claim
                .models
                .as_ref()
                .is_some_and(|models| models.iter().any(|offered| offered == model))
        };
        let found = match model_id {
            Some(model) => named.iter().find(|claim| has(claim, model)),
            None => named
                .iter()
                .find(|claim| default_model(claim).is_some_and(|model| has(claim, model))),
        };
        let any = || named.iter().find(|claim| claim.models.is_none());
        if let Some(claim) = found.or_else(any) {
            return Ok((*claim).clone());
        }
        let pipeline = pipeline.to_owned();
        let on_offer: Vec<String> =
            named.iter().flat_map(|claim| claim.models.clone().unwrap_or_default()).collect();
        Err(match model_id {
            Some(model_id) => {
                ResolveError::UnknownModel { pipeline, model_id: model_id.into(), on_offer }
            }
            None => ResolveError::MissingModel { pipeline, on_offer },
        })
    }
}

/// Of the files of one id, the one with the highest version; of equal ones the first.
fn choose_versions<'a>(
    candidates: &[Candidate],
    good: &[(usize, &'a Arc<Library>)],
    refused: &mut HashMap<usize, String>,
) -> BTreeMap<&'a str, (usize, &'a Arc<Library>)> {
    let mut chosen: BTreeMap<&str, (usize, &Arc<Library>)> = BTreeMap::new();
    for (index, library) in good {
        let better = chosen
            .get(library.id())
            .is_none_or(|(_, best)| library.manifest.version > best.manifest.version);
        if better {
            chosen.insert(library.id(), (*index, library));
        }
    }
    for (index, library) in good {
        let (best, winner) = chosen[library.id()];
        if *index != best {
            let file = file_name(&candidates[best]);
            let version = &winner.manifest.version;
            let reason = format!("version {version} of {} in {file} is used instead", library.id());
            refused.insert(*index, reason);
        }
    }
    chosen
}

/// Takes out plugins that have something which belongs to another.
fn settle_disputes(
    chosen: &mut BTreeMap<&str, (usize, &Arc<Library>)>,
    policy: &Policy<'_>,
    refused: &mut HashMap<usize, String>,
) {
    let mut losers: Vec<(String, String)> = Vec::new();
    for (id, (_, library)) in &*chosen {
        for (other_id, (_, other)) in &*chosen {
            if id == other_id {
                continue;
            }
            if let Some(dispute) = disputed(&library.manifest, &other.manifest)
                && !is_preferred(library, other, &dispute.pin, policy)
            {
                let (what, vendor) = (dispute.what, &other.manifest.vendor);
                let reason = format!(
                    "{what}, which {vendor}'s plugin {other_id} has too; a pin in the configuration decides"
                );
                losers.push(((*id).to_owned(), reason));
            }
        }
    }
    for (id, reason) in losers {
        if let Some((index, _)) = chosen.remove(id.as_str()) {
            refused.insert(index, reason);
        }
    }
}

/// Something that two plugins have and cannot share.
struct Dispute {
    /// What a pin calls it.
    pin: String,
    what: String,
}

fn disputed(one: &Manifest, other: &Manifest) -> Option<Dispute> {
    let name = disputed_pipeline(one, other).or_else(|| disputed_alias(one, other));
    let pipeline = name.map(|pipeline| Dispute {
        pin: pipeline.to_owned(),
        what: format!("it claims the pipeline `{pipeline}`"),
    });
    pipeline.or_else(|| {
        disputed_choice(one, other).map(|(slot, value)| Dispute {
            pin: format!("{slot}/{value}"),
            what: format!("it adds the choice `{value}` to the slot `{slot}`"),
        })
    })
}

/// A name that both claim: of different vendors, or for the same model.
fn disputed_pipeline<'a>(one: &'a Manifest, other: &Manifest) -> Option<&'a str> {
    let both_have = |ours: &plugin_api::Claim, theirs: &plugin_api::Claim| {
        ours.pipeline == theirs.pipeline
            && (one.vendor != other.vendor || share_a_model(&ours.models, &theirs.models))
    };
    let disputed =
        one.claims.iter().find(|ours| other.claims.iter().any(|theirs| both_have(ours, theirs)));
    disputed.map(|claim| claim.pipeline.as_str())
}

/// A name that one claims or gives and the other gives: whatever it stands for, that cannot be shared.
fn disputed_alias<'a>(one: &'a Manifest, other: &Manifest) -> Option<&'a str> {
    let is_given = |manifest: &Manifest, name: &str| {
        manifest.aliases.iter().any(|alias| alias.pipeline == name)
    };
    let names = one.claims.iter().map(|claim| claim.pipeline.as_str());
    let mut names = names.chain(one.aliases.iter().map(|alias| alias.pipeline.as_str()));
    names.find(|name| {
        let is_claimed = other.claims.iter().any(|claim| claim.pipeline == *name);
        is_given(other, name) || (is_claimed && is_given(one, name))
    })
}

/// A choice that both contribute: each can be made by one plugin only.
fn disputed_choice<'a>(one: &'a Manifest, other: &Manifest) -> Option<(&'a str, &'a str)> {
    let theirs: HashSet<(&str, &str)> = choices(other).collect();
    choices(one).find(|choice| theirs.contains(choice))
}

/// Slots and values.
fn choices(manifest: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    manifest.contributes.iter().flat_map(|contribution| {
        let slot = contribution.slot.as_str();
        contribution.items.iter().map(move |choice| (slot, choice.value.as_str()))
    })
}

fn share_a_model(ours: &Option<Vec<String>>, theirs: &Option<Vec<String>>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.iter().any(|model| theirs.contains(model)),
        (None, None) => true,
        _ => false,
    }
}

fn is_preferred(ours: &Library, theirs: &Library, what: &str, policy: &Policy<'_>) -> bool {
    if let Some(pin) = policy.pins.get(what)
        && (pin == ours.id() || pin == theirs.id())
    {
        return pin == ours.id();
    }
    let is_own = |library: &Library| library.manifest.vendor == policy.own_vendor;
    is_own(ours) && !is_own(theirs)
}

fn default_model<'a>(claim: &'a &&Claim) -> Option<&'a str> {
    claim.params_schema.pointer("/properties/model_id/default")?.as_str()
}

/// The claims of plugins, with what all of them contribute and under all names; and the names that stand for nothing, by
/// their plugins' ids.
pub(crate) fn claims<'a>(
    manifests: impl Iterator<Item = &'a Manifest> + Clone,
) -> (Vec<Claim>, BTreeMap<String, Vec<Withheld>>) {
    let slots = Slots::of(manifests.clone());
    let of_plugin = |manifest: &'a Manifest| {
        let claims = manifest.claims.iter().enumerate();
        claims.map(|(index, claim)| to_claim(&manifest.id, index, claim, &slots))
    };
    let mut claims: Vec<Claim> = manifests.clone().flat_map(of_plugin).collect();
    let (named, withheld) = aliases::expand(manifests, &claims);
    claims.extend(named);
    (claims, withheld)
}

fn to_claim(plugin: &str, index: usize, claim: &plugin_api::Claim, slots: &Slots<'_>) -> Claim {
    let mut params_schema = claim.params.clone();
    slots.fill(&mut params_schema);
    Claim {
        pipeline: claim.pipeline.clone(),
        name_given: None,
        id: ClaimRef { plugin: plugin.into(), pipeline: claim.pipeline.clone(), index },
        models: claim.models.clone(),
        description: claim.description.clone(),
        params_schema,
    }
}

fn file_name(candidate: &Candidate) -> String {
    candidate.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn report(candidate: &Candidate, refused: Option<String>, withheld: Vec<Withheld>) -> PluginReport {
    let (manifest, reason) = match &candidate.outcome {
        Outcome::Good(library) => (Some(&library.manifest), refused),
        Outcome::Bad { manifest, reason } => (manifest.as_deref(), Some(reason.clone())),
    };
    let text = |text: fn(&Manifest) -> String| manifest.map(text);
    PluginReport {
        file: file_name(candidate),
        id: text(|manifest| manifest.id.clone()),
        vendor: text(|manifest| manifest.vendor.clone()),
        version: text(|manifest| manifest.version.to_string()),
        license: text(|manifest| manifest.license.clone()),
        description: text(|manifest| manifest.description.clone()),
        features: manifest.map(|manifest| manifest.features.clone()).unwrap_or_default(),
        pipelines: manifest.map(|manifest| pipelines(manifest, &withheld)).unwrap_or_default(),
        withheld,
        contributes: manifest.map(contributes).unwrap_or_default(),
        hash: candidate.hash.clone(),
        state: match reason {
            None => PluginState::Accepted,
            Some(reason) => PluginState::Refused { reason },
        },
    }
}

fn pipelines(manifest: &Manifest, withheld: &[Withheld]) -> Vec<String> {
    let mut names: BTreeSet<&String> =
        manifest.claims.iter().map(|claim| &claim.pipeline).collect();
    names.extend(manifest.aliases.iter().map(|alias| &alias.pipeline));
    names.retain(|name| withheld.iter().all(|withheld| withheld.pipeline != **name));
    names.into_iter().cloned().collect()
}

fn contributes(manifest: &Manifest) -> Vec<Contribution> {
    let to_port = |contribution: &plugin_api::Contribution| Contribution {
        slot: contribution.slot.clone(),
        values: contribution.items.iter().map(|choice| choice.value.clone()).collect(),
    };
    manifest.contributes.iter().map(to_port).collect()
}

#[cfg(test)]
mod tests;
