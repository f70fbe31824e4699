//! The path of graphs on the CPU, which has none: the same tensors, copies, thread and run options.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use super::super::captures::CAPTURES;
use super::super::session::{Merged, Opened, Opener};
use super::*;
use crate::engine::RunError;
use crate::engines::Engines;
use crate::nets::Network;
use crate::onnx::Runtime;
use crate::ops::{Ops, Values};
use crate::weights::Weights;

/// Twice the first input by the second, and their sum.
struct Two;

impl Network for Two {
    fn inputs(&self) -> Vec<Port> {
        let port = |name| Port { name, dims: vec![Dim::Free("rows"), Dim::Fixed(2)] };
        ["x", "y"].map(|name| port(name.into())).into()
    }

    fn outputs(&self) -> Vec<Port> {
        let port = |name| Port { name, dims: vec![Dim::Free("rows"), Dim::Fixed(2)] };
        ["product", "sum"].map(|name| port(name.into())).into()
    }

    fn forward<O: Ops>(&self, ops: &O, inputs: &[O::T]) -> Values<O> {
        let doubled = ops.mul(&inputs[0], &ops.param("weight", &[1])?)?;
        Ok(vec![ops.mul(&doubled, &inputs[1])?, ops.add(&inputs[0], &inputs[1])?])
    }
}

fn captures() -> &'static Captures {
    Box::leak(Box::new(Captures::new()))
}

fn opened(providers: &[Provider]) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.safetensors");
    let view = TensorView::new(Dtype::F32, vec![1], &[0, 0, 0, 64]).unwrap();
    serialize_to_file([("weight", view)], None, &path).unwrap();
    let weights = Weights::open(&path).unwrap();
    let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines");
    let runtime = Runtime::start(&engines.join("runtime"), 2).unwrap();
    let engines = Engines::new(engines);
    let opener = Opener { runtime: &runtime, providers, engines: &engines, has_graphs: true };
    let merged = Merged { weights: &weights, fused: BTreeMap::new(), digest: 0, sizes: None };
    opener.open(&Two, merged, &mut || true).unwrap()
}

/// On the CPU, in the way of graphs.
fn session(captures: &'static Captures) -> Session {
    let (mut session, ..) = opened(&[Provider::Cpu]);
    assert!(session.fixed.is_none(), "the CPU has no graphs");
    session.fixed = Some(Fixed::new(captures).unwrap());
    session
}

/// Inputs of so many rows, and what comes of them.
fn case(rows: usize, seed: f32) -> ([Tensor; 2], Vec<Tensor>) {
    let values = |start: f32| (0..2 * rows).map(|index| start + index as f32).collect::<Vec<_>>();
    let (x, y) = (values(seed), values(-2.0 * seed));
    let each = |by: fn(f32, f32) -> f32| {
        Tensor::new([rows, 2], x.iter().zip(&y).map(|(&x, &y)| by(x, y)).collect())
    };
    let outputs = vec![each(|x, y| 2.0 * x * y), each(|x, y| x + y)];
    ([Tensor::new([rows, 2], x), Tensor::new([rows, 2], y)], outputs)
}

fn run(session: &Session, inputs: &[Tensor; 2]) -> Vec<Tensor> {
    session.run(&[&inputs[0], &inputs[1]]).unwrap()
}

/// The shapes with a graph, each by its rows.
fn kept(session: &Session) -> Vec<usize> {
    let places = session.fixed.as_ref().unwrap().places.lock().unwrap();
    places.iter().map(|place| place.shapes[0][0]).collect()
}

#[test]
fn changing_values_of_several_shapes_give_what_a_plain_run_gives() {
    let session = session(captures());
    for round in 0..3 {
        for rows in 1..=MOST_SHAPES + 2 {
            let (inputs, outputs) = case(rows, (1 + round * 10 + rows) as f32);
            assert_eq!(run(&session, &inputs), outputs, "{rows} rows, round {round}");
        }
    }
    assert_eq!(kept(&session), (1..=MOST_SHAPES).collect::<Vec<_>>(), "the others run without");
}

/// The only test that captures anything, on a machine that can.
#[test]
fn cuda_has_graphs_where_there_is_a_card_and_is_refused_as_a_whole_where_there_is_none() {
    let (session, provider, refused) = opened(&[Provider::Cuda, Provider::Cpu]);
    if provider == Provider::Cpu {
        let names: Vec<_> = refused.iter().map(|refusal| refusal.provider).collect();
        assert_eq!((names, session.fixed.is_some()), (vec!["cuda"], false));
        println!("no graph was captured: {}", refused[0].reason);
        return;
    }
    assert_eq!(refused, []);
    // Other tests make sessions, and captures wait for that.
    for call in 0..3000 {
        let (inputs, outputs) = case(1 + call % 3, call as f32);
        assert_eq!(run(&session, &inputs), outputs);
    }
    assert_eq!(kept(&session).len(), 3, "{:?}", CAPTURES.failure());
}

#[test]
fn inputs_and_outputs_of_a_shape_stay_where_they_are() {
    let session = session(captures());
    let look = |seed| {
        let (inputs, outputs) = case(3, seed);
        assert_eq!(run(&session, &inputs), outputs);
        let mut places = session.fixed.as_ref().unwrap().places.lock().unwrap();
        let place = &mut places[0];
        let there: Vec<Vec<f32>> =
            place.inputs.iter().map(|input| input.extract_tensor().1.to_vec()).collect();
        assert_eq!(there, inputs.map(Tensor::into_data), "what is bound has the latest inputs");
        let addresses: Vec<_> = place.inputs.iter().map(OrtTensor::data_ptr).collect();
        let mut plain = session.lock();
        let outputs = plain.run_binding_with_options(&place.binding, &place.options).unwrap();
        let ends =
            outputs.values().map(|value| value.try_extract_tensor::<f32>().unwrap().1.as_ptr());
        (addresses, ends.collect::<Vec<_>>())
    };
    let first = look(1.0);
    assert_eq!(first, look(7.0));
}

#[test]
fn callers_on_several_threads_each_get_their_own() {
    let session = session(captures());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let session = &session;
            scope.spawn(move || {
                for call in 0..20 {
                    let (inputs, outputs) =
                        case(1 + (thread + call) % 3, (call * 4 + thread) as f32);
                    assert_eq!(run(session, &inputs), outputs);
                }
            });
        }
    });
    assert_eq!(kept(&session).len(), 3);
}

#[test]
fn each_shape_has_a_graph_of_its_own_and_other_runs_have_none() {
    let session = session(captures());
    for rows in [1, 2] {
        run(&session, &case(rows, 1.0).0);
    }
    let fixed = session.fixed.as_ref().unwrap();
    let mut places = fixed.places.lock().unwrap();
    let graphs: Vec<_> = places.iter_mut().map(|place| place.options.get(GRAPH)).collect();
    assert_eq!(graphs, [Some("1".to_owned()), Some("2".to_owned())]);
    assert_eq!(options(NO_GRAPH).unwrap().get(GRAPH).as_deref(), Some("-1"));
}

#[test]
fn nothing_is_captured_while_a_session_is_made() {
    let captures = captures();
    let session = session(captures);
    let (inputs, outputs) = case(2, 3.0);
    let making = captures.making();
    assert_eq!((run(&session, &inputs), kept(&session)), (outputs.clone(), vec![]));
    drop(making);
    assert_eq!((run(&session, &inputs), kept(&session)), (outputs, vec![2]));
}

#[test]
fn runs_wait_until_a_capture_elsewhere_is_over() {
    let captures = captures();
    let session = session(captures);
    let (inputs, _) = case(1, 1.0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let alone = captures.alone().unwrap();
        let waits = scope.spawn(|| {
            run(&session, &inputs);
            is_over.load(Ordering::SeqCst)
        });
        std::thread::yield_now();
        is_over.store(true, Ordering::SeqCst);
        drop(alone);
        assert!(waits.join().unwrap());
    });
}

#[test]
fn a_capture_that_fails_leaves_the_result_and_ends_graphs() {
    let captures = captures();
    let mut session = session(captures);
    // There is no card to put tensors on.
    session.provider = Provider::Cuda;
    for seed in [1.0, 2.0] {
        let (inputs, outputs) = case(2, seed);
        assert_eq!((run(&session, &inputs), kept(&session)), (outputs, vec![]));
    }
    let reason = captures.failure().unwrap();
    assert_eq!(refusal(&Two.inputs(), captures).as_deref(), Some(reason), "for later sessions");
}

#[test]
fn a_replay_that_gives_other_numbers_is_a_failure() {
    let session = session(captures());
    let (inputs, mut outputs) = case(2, 1.0);
    let [x, y] = &inputs;
    let capture = |outputs: &[Tensor]| {
        let place = Place::capture(1, &mut session.lock(), &session, &[x, y], outputs);
        place.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(capture(&outputs), Ok(()));
    let largest = outputs[0].data().iter().fold(0f32, |largest, value| largest.max(value.abs()));
    outputs[0].data_mut()[1] += 0.5 * TOLERANCE * largest;
    assert_eq!(capture(&outputs), Ok(()), "rounding");
    outputs[0].data_mut()[1] += TOLERANCE * largest;
    assert_eq!(capture(&outputs), Err(OTHER_NUMBERS.to_owned()));
}

#[test]
fn results_that_are_not_finite_prove_nothing() {
    let captures = captures();
    let session = session(captures);
    let ([mut x, y], _) = case(1, 1.0);
    x.data_mut()[0] = f32::NAN;
    assert!(run(&session, &[x, y])[0].data()[0].is_nan());
    assert_eq!((kept(&session), captures.failure()), (vec![], None));
}

#[test]
fn tensors_cannot_stay_where_replays_would_write_over_them() {
    let session = session(captures());
    let ([x, y], _) = case(1, 1.0);
    let error = session.run_resident(&[&x, &y], &[], true).map(drop).unwrap_err();
    let RunError::Backend(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("tensors that stay"), "{error}");
}

#[test]
fn a_network_with_moving_tensors_is_opened_without_graphs() {
    let cache = Port { name: "cache".into(), dims: vec![Dim::Free("rows"), Dim::Any] };
    assert_eq!(refusal(&[cache], captures()).as_deref(), Some(MOVING));
    assert_eq!(refusal(&Two.inputs(), captures()), None);
}

#[test]
fn what_is_not_opened_with_graphs_is_opened_without_and_says_why() {
    type Outcome = Result<ort::Result<(&'static str, Option<String>)>, String>;
    let attempt = |refusal: Option<&str>, outcomes: [Result<&'static str, &str>; 2]| -> Outcome {
        let outcome =
            |has_graphs: bool| outcomes[usize::from(!has_graphs)].map_err(ort::Error::new);
        open(refusal.map(str::to_owned), |has_graphs| Ok(outcome(has_graphs)))
    };
    let told = |outcome: Outcome| outcome.unwrap().map_err(|error| error.to_string());
    let (with, without) = ("with", "without");
    assert_eq!(told(attempt(None, [Ok(with), Ok(without)])), Ok((with, None)));
    let nodes = Some("nodes are left".to_owned());
    assert_eq!(told(attempt(None, [Err("nodes are left"), Ok(without)])), Ok((without, nodes)));
    let known = Some("known".to_owned());
    assert_eq!(told(attempt(Some("known"), [Ok(with), Ok(without)])), Ok((without, known)));
    let absent = attempt(None, [Err("nodes are left"), Err("no CUDA")]);
    assert_eq!(told(absent), Err("no CUDA".to_owned()));
}

#[test]
fn graphs_are_switched_on_by_one_word() {
    assert_eq!([None, Some("on"), Some("off")].map(wants), [Ok(false), Ok(true), Ok(false)]);
    let error = wants(Some("0")).unwrap_err().to_string();
    assert_eq!(error, "DIFFUSION_CUDA_GRAPHS must be `on` or `off`, got `0`");
}
