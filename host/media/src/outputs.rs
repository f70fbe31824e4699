//! What a path's owner can ask for beside sessions: HLS, snapshots, recordings.

use crate::codecs::Codec;
use crate::hls::{Hls, answer};
use crate::path::Path;
use crate::recording::{Folder, Recorder};
use crate::snapshot::Snapshots;
use crate::unit::AudioCodec;
use host_ports::{HlsError, HlsFile, HlsRequest, Pending, RecordError, RecordedFile, Recording};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// All players and programs take these.
const VIDEO: Codec = Codec::H264;
const AUDIO: Option<AudioCodec> = Some(AudioCodec::Aac);

#[derive(Default)]
pub(crate) struct Outputs {
    hls: Hls,
    pub snapshots: Snapshots,
    recorder: Arc<Mutex<Option<Recorder>>>,
    /// Held by whoever starts a recording: there is one at a time.
    starting: Arc<tokio::sync::Mutex<()>>,
}

impl Path {
    pub(crate) fn answer_hls(&self, request: HlsRequest) -> Pending<Result<HlsFile, HlsError>> {
        let muxer = self.outputs.hls.muxer(&request, || self.listen(VIDEO, AUDIO));
        Box::pin(async move { answer(muxer?, request).await })
    }

    pub(crate) fn begin_recording(
        &self,
    ) -> Pending<Result<(Recording, Pending<Recording>), RecordError>> {
        let outputs = &self.outputs;
        let (recorder, starting) = (outputs.recorder.clone(), outputs.starting.clone());
        // Before a reader's place is taken.
        let feed = refuse_second(&recorder)
            .and_then(|()| self.listen(VIDEO, AUDIO).map_err(RecordError::Offer));
        let (folder, context) = (self.recordings_folder(), self.context.clone());
        Box::pin(async move {
            let feed = feed?;
            let _one_at_a_time = starting.lock().await;
            refuse_second(&recorder)?;
            let started =
                tokio::task::spawn_blocking(move || Recorder::start(feed, folder, &context));
            let started = started.await.map_err(|error| broken(&error))??;
            let told = (started.told(), started.ended());
            *lock(&recorder) = Some(started);
            Ok(told)
        })
    }

    pub(crate) fn end_recording(&self) -> Pending<Result<Recording, RecordError>> {
        let recorder = lock(&self.outputs.recorder).clone();
        Box::pin(async move {
            let recorder = recorder.filter(|recorder| recorder.told().ended.is_none());
            let recorder = recorder.ok_or(RecordError::NotRecording)?;
            recorder.stop();
            Ok(recorder.ended().await)
        })
    }

    pub(crate) fn last_recording(&self) -> Option<Recording> {
        lock(&self.outputs.recorder).as_ref().map(Recorder::told)
    }

    pub(crate) fn list_recordings(&self) -> Pending<Result<Vec<RecordedFile>, RecordError>> {
        let folder = self.recordings_folder();
        let list = move || folder.list();
        Box::pin(
            async move { tokio::task::spawn_blocking(list).await.map_err(|error| broken(&error))? },
        )
    }

    pub(crate) fn find_recording(&self, name: &str) -> Option<PathBuf> {
        self.recordings_folder().find(name)
    }

    pub(crate) fn remove_recording(&self, name: &str) -> Pending<Result<(), RecordError>> {
        let (folder, name) = (self.recordings_folder(), name.to_owned());
        let remove = move || folder.remove(&name);
        Box::pin(async move {
            tokio::task::spawn_blocking(remove).await.map_err(|error| broken(&error))?
        })
    }

    fn recordings_folder(&self) -> Folder {
        Folder::new(&self.context.config.recordings.folder, &self.state.name)
    }
}

fn refuse_second(recorder: &Mutex<Option<Recorder>>) -> Result<(), RecordError> {
    let told = lock(recorder).as_ref().map(Recorder::told);
    match told.filter(|told| told.ended.is_none()) {
        Some(told) => Err(RecordError::Already { name: told.name }),
        None => Ok(()),
    }
}

fn broken(error: &tokio::task::JoinError) -> RecordError {
    RecordError::Files { reason: error.to_string() }
}

fn lock(recorder: &Mutex<Option<Recorder>>) -> std::sync::MutexGuard<'_, Option<Recorder>> {
    // Whole values are put in: a panic elsewhere leaves nothing half done.
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
