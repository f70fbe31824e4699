//! What a request makes of a stream: checked, agreed on with the plugin, and stored; taking it up is the session's part.

use crate::agreement::{Agreement, Amended, Desk};
use crate::changed::{self, FieldChange};
use crate::{ChangeError, Mode, StreamChange};
use host_ports::{FieldError, StoredStream};
use host_stream::Changes;
use serde_json::{Map, Value};

/// A request that was agreed on.
pub struct Agreed {
    pub record: StoredStream,
    pub agreement: Agreement,
    pub changes: Changes,
    pub has_room: bool,
    /// What a pipeline that runs beside its successor's loading shall have meanwhile.
    pub running: Option<Agreement>,
    pub suits_running: bool,
    pub fields: Vec<FieldChange>,
    pub mode: Mode,
    /// It goes back to what was agreed on before.
    pub is_taken_back: bool,
}

impl Agreed {
    pub fn of(record: StoredStream, agreement: Agreement, changes: Changes) -> Self {
        Self {
            record,
            agreement,
            changes,
            has_room: true,
            running: None,
            suits_running: false,
            fields: Vec::new(),
            mode: Mode::Apply,
            is_taken_back: false,
        }
    }

    /// Whether a pipeline has to learn of it.
    pub fn is_for_the_pipeline(&self) -> bool {
        !self.changes.reload.is_empty() || !self.changes.hot.is_empty() || self.suits_running
    }
}

/// Merges, asks and stores; of a plan, all but the last.
pub async fn agree(
    desk: Desk,
    mut record: StoredStream,
    agreement: Agreement,
    running: Option<Agreement>,
    change: StreamChange,
) -> Result<Box<Agreed>, ChangeError> {
    if let Some(requested) = change.pipeline.filter(|requested| *requested != record.pipeline) {
        return Err(ChangeError::PipelineMismatch { requested, actual: record.pipeline });
    }
    expect_revision(&record, change.revisions.as_deref())?;
    let patch = with_items(change.params, change.items, &agreement.params)?;
    let Amended { agreement, changes, has_room } =
        desk.amend(&agreement, &patch, change.is_hot_only).await?;
    let expected = record.revision;
    let old = record.clone();
    if !changes.is_empty() {
        record.params = agreement.params.clone();
    }
    if let Some(url) = change.output_rtmp_url {
        record.output_rtmp_url = Some(url).filter(|url| !url.is_empty());
    }
    let fields = changed::fields(&patch, &agreement, &changes);
    let mode = change.mode;
    if mode != Mode::Plan && record != old {
        record.revision += 1;
        let record = record.clone();
        desk.with_store(move |store| store.update(expected, record)).await?;
    }
    let mut agreed = Agreed { has_room, fields, mode, ..Agreed::of(record, agreement, changes) };
    if mode == Mode::Plan {
        return Ok(Box::new(agreed));
    }
    if let Some(running) = running {
        agreed.suits_running =
            !agreed.changes.reload.is_empty() && desk.suits(&running, &agreed.agreement).await;
        agreed.running = Some(match agreed.changes.reload.is_empty() {
            true => desk.follow(running, &agreed.agreement, &agreed.changes.hot).await,
            false => running,
        });
    }
    Ok(Box::new(agreed))
}

/// While it is under way no change is agreed on, and none after it, as the store no longer has the stream.
pub async fn forget(
    desk: Desk,
    record: StoredStream,
    agreement: Agreement,
    revisions: &[u64],
) -> Result<Box<Agreed>, ChangeError> {
    expect_revision(&record, Some(revisions))?;
    let id = record.id.clone();
    if !desk.with_store(move |store| store.delete(&id)).await? {
        return Err(ChangeError::not_found(&record.id));
    }
    let unchanged = Agreed::of(record, agreement, Changes::default());
    Ok(Box::new(Agreed { mode: Mode::Plan, ..unchanged }))
}

fn expect_revision(record: &StoredStream, wanted: Option<&[u64]>) -> Result<(), ChangeError> {
    match wanted {
        Some(wanted) if !wanted.contains(&record.revision) => {
            Err(ChangeError::Stale { revision: record.revision, wanted: wanted.to_vec() })
        }
        _ => Ok(()),
    }
}

/// Changes single fields of lists' items. Here, where no other change can come between, for a list is replaced as a whole.
fn with_items(
    mut patch: Map<String, Value>,
    items: Vec<(String, Value)>,
    current: &Map<String, Value>,
) -> Result<Map<String, Value>, ChangeError> {
    for (pointer, value) in items {
        let name = pointer.split('/').nth(1).unwrap_or_default();
        if patch.get(name).is_none_or(Value::is_null) {
            let list = current.get(name).cloned().unwrap_or_default();
            patch.insert(name.to_owned(), list);
        }
        let inside = pointer.get(name.len() + 1..).unwrap_or_default();
        let (item, field) = inside.rsplit_once('/').unwrap_or_default();
        let item = patch.get_mut(name).and_then(|list| list.pointer_mut(item));
        match item.and_then(Value::as_object_mut) {
            // As everywhere in params, null leaves what is there.
            Some(_) if value.is_null() => {}
            Some(item) => drop(item.insert(field.to_owned(), value)),
            None => {
                let message = "there is no such item; they are counted from 0".to_owned();
                return Err(ChangeError::Params(vec![FieldError { pointer, message }]));
            }
        }
    }
    Ok(patch)
}
