//! What every `StateStore` promises, as one test that each implementation runs.

use host_ports::{StateStore, StoreError, StoredStream};
use serde_json::json;

/// Panics where a store made by `empty` breaks a promise.
pub fn check<S: StateStore>(empty: impl Fn() -> S) {
    finds_what_was_created(&empty());
    lists_in_order_of_creation(&empty());
    refuses_a_second_stream_of_one_id(&empty());
    updates_only_the_expected_revision(&empty());
    forgets_what_is_deleted(&empty());
    loses_no_update_between_threads(&empty());
}

fn finds_what_was_created(store: &impl StateStore) {
    assert_eq!(store.get("a"), Ok(None));
    store.create(stream("a")).unwrap();
    assert_eq!(store.get("a"), Ok(Some(stream("a"))));
    assert_eq!(store.get("b"), Ok(None));
}

fn lists_in_order_of_creation(store: &impl StateStore) {
    assert_eq!(store.list(), Ok(vec![]));
    for id in ["c", "a", "b"] {
        store.create(stream(id)).unwrap();
    }
    store.update(1, StoredStream { revision: 2, ..stream("c") }).unwrap();
    store.delete("a").unwrap();
    store.create(stream("a")).unwrap();
    let ids: Vec<_> = store.list().unwrap().into_iter().map(|stream| stream.id).collect();
    assert_eq!(ids, ["c", "b", "a"]);
}

fn refuses_a_second_stream_of_one_id(store: &impl StateStore) {
    store.create(stream("a")).unwrap();
    let other = StoredStream { name: "other".into(), ..stream("a") };
    assert_eq!(store.create(other), Err(StoreError::Exists { id: "a".into() }));
    assert_eq!(store.get("a"), Ok(Some(stream("a"))));
}

fn updates_only_the_expected_revision(store: &impl StateStore) {
    let newer = StoredStream { revision: 2, name: "newer".into(), ..stream("a") };
    assert_eq!(store.update(1, newer.clone()), Err(StoreError::Missing { id: "a".into() }));
    store.create(stream("a")).unwrap();
    store.update(1, newer.clone()).unwrap();
    let conflict = StoreError::Conflict { id: "a".into(), expected: 1, found: 2 };
    assert_eq!(store.update(1, stream("a")), Err(conflict));
    assert_eq!(store.get("a"), Ok(Some(newer)));
}

fn forgets_what_is_deleted(store: &impl StateStore) {
    store.create(stream("a")).unwrap();
    store.create(stream("b")).unwrap();
    assert_eq!(store.delete("a"), Ok(true));
    assert_eq!(store.delete("a"), Ok(false));
    assert_eq!(store.list(), Ok(vec![stream("b")]));
}

fn loses_no_update_between_threads(store: &impl StateStore) {
    store.create(stream("a")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| count_up(store)));
        }
    });
    assert_eq!(store.get("a").unwrap().unwrap().revision, 101);
}

fn count_up(store: &impl StateStore) {
    loop {
        let old = store.get("a").unwrap().unwrap();
        let new = StoredStream { revision: old.revision + 1, ..old.clone() };
        match store.update(old.revision, new) {
            Ok(()) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn stream(id: &str) -> StoredStream {
    StoredStream {
        id: id.to_owned(),
        name: format!("stream {id}"),
        stream_key: format!("stk_{id}"),
        playback_id: format!("play_{id}"),
        created_at: "2024-02-29T12:00:00Z".to_owned(),
        pipeline: "passthrough".to_owned(),
        params: json!({
            "prompt": [["a cat", 0.5], ["é\u{0}", 1]],
            "seed": 4294967295u64,
            // Numbers whose every digit counts.
            "delta": [31.245270191439438, 0.30000000000000004, 5e-324],
        })
        .as_object()
        .cloned()
        .unwrap_or_default(),
        revision: 1,
        output_rtmp_url: None,
    }
}
