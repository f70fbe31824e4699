//! HLS, snapshots and recordings of streams, by their ids.

use crate::directory::Name;
use crate::{MediaError, Runtime};
use host_ports::{HlsFile, HlsRequest, RecordError, RecordedFile, Recording};
use std::path::PathBuf;
use std::sync::Arc;
use tracing::Instrument;

impl Runtime {
    /// Answers a client of HLS, which may take some seconds.
    pub async fn hls(&self, id: &str, request: HlsRequest) -> Result<HlsFile, MediaError> {
        let stream = self.serving(Name::Id(id))?;
        Ok(stream.path.hls(request).await?)
    }

    /// What viewers see now, as JPEG.
    pub async fn snapshot(&self, id: &str) -> Result<Arc<[u8]>, MediaError> {
        Ok(self.serving(Name::Id(id))?.path.snapshot().await?)
    }

    /// Begins to record what viewers see. How that ends is told by an event and the stream's status.
    pub async fn record(&self, id: &str) -> Result<Recording, MediaError> {
        let stream = self.serving(Name::Id(id))?;
        let (begun, ended) = stream.path.record().await?;
        stream.tell_recording(&begun);
        let told = begun.clone();
        // Without the stream, which a recording must not keep.
        let chronicle = stream.chronicle();
        tokio::spawn(async move { chronicle.recording_ended(&ended.await) }.in_current_span());
        Ok(told)
    }

    /// Ends a stream's recording; its files are whole then.
    pub async fn stop_recording(&self, id: &str) -> Result<Recording, MediaError> {
        Ok(self.serving(Name::Id(id))?.path.stop_recording().await?)
    }

    /// Finished files of a stream's recordings, oldest first.
    pub async fn recordings(&self, id: &str) -> Result<Vec<RecordedFile>, MediaError> {
        Ok(self.serving(Name::Id(id))?.path.recordings().await?)
    }

    /// Where one of these is.
    pub fn recorded_file(&self, id: &str, name: &str) -> Result<PathBuf, MediaError> {
        let found = self.serving(Name::Id(id))?.path.recorded_file(name);
        Ok(found.ok_or(RecordError::NoFile)?)
    }

    /// Takes one of these away.
    pub async fn delete_recording(&self, id: &str, name: &str) -> Result<(), MediaError> {
        Ok(self.serving(Name::Id(id))?.path.delete_recording(name).await?)
    }
}
