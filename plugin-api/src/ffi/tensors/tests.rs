//! What comes over, and what is refused.

use super::*;
use std::sync::Arc;

fn tensor<'a>(name: &'a str, shape: &[usize], values: &'a [f32]) -> Tensor<'a> {
    Tensor::new(name, shape, values).unwrap()
}

/// Reads one tensor, whose view `change` may have spoilt.
fn read(change: impl FnOnce(&mut SdhTensor)) -> Result<(Vec<usize>, Vec<f32>), String> {
    let values: Vec<f32> = (0..6u8).map(f32::from).collect();
    let mut views = Views::of(&[tensor("x", &[2, 3], &values)]);
    change(&mut views.items[0]);
    // SAFETY: the list and what it shows live here; what `change` makes of it is to be refused.
    let read = unsafe { read_tensors(&views.list()) };
    read.map(|tensors| (tensors[0].shape().to_vec(), tensors[0].values().to_vec()))
        .map_err(|error| error.message)
}

#[test]
fn tensors_come_over_as_they_are_without_a_copy() {
    let values = [1.0, 2.0, 3.0];
    let given =
        [tensor("a", &[3], &values), tensor("none", &[0, 4], &[]), tensor("b", &[], &values[..1])];
    let views = Views::of(&given);
    // SAFETY: the list and what it shows live here.
    let read = unsafe { read_tensors(&views.list()) }.unwrap();
    assert_eq!(read, given);
    assert_eq!(read[0].values().as_ptr(), values.as_ptr());
}

#[test]
fn numbers_that_lie_apart_are_gathered() {
    static TRANSPOSED: [i64; 2] = [1, 3];
    static SIDES: [i64; 2] = [3, 2];
    let turned = read(|x| (x.shape, x.strides) = (SIDES.as_ptr(), TRANSPOSED.as_ptr())).unwrap();
    assert_eq!(turned, (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    static REPEATED: [i64; 2] = [0, 1];
    let repeated = read(|x| x.strides = REPEATED.as_ptr()).unwrap();
    assert_eq!(repeated.1, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    static ROW: [i64; 2] = [1, 3];
    let second = read(|x| (x.shape, x.byte_offset) = (ROW.as_ptr(), 12)).unwrap();
    assert_eq!(second.1, [3.0, 4.0, 5.0]);
}

#[test]
fn views_that_cannot_be_right_are_refused_by_name() {
    static NEGATIVE: [i64; 2] = [-2, 3];
    static HUGE: [i64; 2] = [i64::MAX, i64::MAX];
    static BACKWARDS: [i64; 2] = [-3, 1];
    static FAR: [i64; 2] = [4, 1];
    let name = |x: &mut SdhTensor| x.name = bytes_of(b"\xff");
    let half = SdhDataType { code: SDH_DATA_FLOAT, bits: 16, lanes: 1 };
    type Change = Box<dyn FnOnce(&mut SdhTensor)>;
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|x| x.device = 2), "lies on a device of kind 2; host memory is 1"),
        (Box::new(move |x| x.data_type = half), "only float32 is taken"),
        (Box::new(|x| x.axes = 9), "has 9 axes; 8 are the most"),
        (Box::new(|x| x.shape = std::ptr::null()), "has axes and no shape"),
        (Box::new(|x| x.shape = NEGATIVE.as_ptr()), "has an axis of -2"),
        (Box::new(|x| x.shape = HUGE.as_ptr()), "values are the most"),
        (Box::new(|x| x.strides = BACKWARDS.as_ptr()), "has a stride of -3"),
        (Box::new(|x| x.strides = HUGE.as_ptr()), "does not fit its 24 bytes"),
        (Box::new(|x| x.strides = FAR.as_ptr()), "with strides [4, 1] does not fit its 24 bytes"),
        (Box::new(|x| x.length = 23), "does not fit its 23 bytes"),
        (Box::new(|x| x.byte_offset = 4), "does not fit its 24 bytes"),
        (Box::new(|x| x.byte_offset = 2), "not where float32 may lie"),
        (Box::new(|x| x.byte_offset = 25), "begins at byte 25 of 24"),
        (Box::new(|x| x.length = u64::MAX), "begins at byte 0"),
        (Box::new(|x| x.data = std::ptr::null_mut()), "has no data"),
        (Box::new(|x| x.size = 8), "SdhTensor has 8 bytes"),
        (Box::new(name), "text is not UTF-8"),
    ];
    for (change, expected) in cases {
        let error = read(change).unwrap_err();
        assert!(error.contains(expected), "{error} has no {expected}");
    }
}

#[test]
fn lists_of_too_many_or_of_none_where_some_are_told_are_refused() {
    let views = Views::of(&[]);
    let read = |count, items| {
        let list = SdhTensors { count, items, ..views.list() };
        // SAFETY: what the list shows is not read.
        unsafe { read_tensors(&list) }.map(|read| read.len()).map_err(|error| error.message)
    };
    let null = std::ptr::null();
    assert_eq!(read(0, null), Ok(0));
    assert_eq!(read(1, null), Err("SdhTensors.items is null".into()));
    assert_eq!(read(65, null), Err("65 tensors; 64 are the most".into()));
}

/// Tells by its `Arc` whether it is still there.
struct Maker {
    _values: Arc<Vec<f32>>,
}

#[test]
fn what_is_handed_out_is_freed_once_by_whoever_made_it() {
    let made = Conditions::Made(vec![Tensor::new("r", [2], vec![1.0, 2.0]).unwrap()]);
    let mut list = hand_out(made);
    let release = list.release.unwrap();
    // SAFETY: the list is as it was handed out.
    unsafe { release(&mut list) };
    assert!(list.items.is_null() && list.owner.is_null() && list.release.is_none());
    assert_eq!(list.count, 0);
    // SAFETY: a list that was released shows nothing; a second call is a caller's mistake that must not harm.
    unsafe { release(&mut list) };
}

#[test]
fn tensors_handed_on_are_released_with_the_last_owner() {
    unsafe extern "C" fn released(list: *mut SdhTensors) {
        // SAFETY: made below.
        let list = unsafe { &mut *list };
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(list.owner.cast::<Maker>()) });
        list.release = None;
    }
    let values = Arc::new(vec![1.0, 2.0]);
    let views = Views::of(&[tensor("r", &[2], &values)]);
    let maker = Box::new(Maker { _values: values.clone() });
    let owner = Box::into_raw(maker).cast();
    let list = SdhTensors { owner, release: Some(released), ..views.list() };
    // SAFETY: the list shows `views`, which live here.
    let lent = unsafe { LentTensors::take(list) }.unwrap();
    let list = hand_out(Conditions::Lent(lent));
    // SAFETY: as it was handed out.
    let again = unsafe { LentTensors::take(list) }.unwrap();
    assert_eq!(again.as_slice()[0].values().as_ptr(), values.as_ptr(), "nothing was copied");
    assert_eq!(Arc::strong_count(&values), 2);
    drop(again);
    assert_eq!(Arc::strong_count(&values), 1);
}
