//! Sessions as the API and the media server see them: real threads and tasks, with plugins, media and storage that do
//! what a test tells them.

#[cfg(test)]
mod changes;
#[cfg(test)]
mod creation;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod events;
#[cfg(test)]
mod failures;
mod fetching;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod reloads;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod support;
#[cfg(test)]
mod updates;
