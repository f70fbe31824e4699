//! What CUDA is asked for.

use ort::ep::{ArenaExtendStrategy, CUDA};

/// Every network has an arena of its own, which grows by what is asked for: doubling would keep memory that no other
/// network can use.
///
/// In half precision, pictures lie with their channels last, as the card's matrix units take them. That puts nodes on the
/// CPU which compute shapes, and ONNX Runtime then refuses graphs, so it is one or the other (decision 0015).
pub fn options(is_half: bool, has_graphs: bool) -> CUDA {
    let options = CUDA::default().with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    match (has_graphs, is_half) {
        (true, _) => options.with_cuda_graph(true),
        (false, true) => options.with_prefer_nhwc(true),
        (false, false) => options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_is_asked_for_graphs_or_for_channels_last_in_half_precision() {
        let asked = |is_half, has_graphs| {
            let options = format!("{:?}", options(is_half, has_graphs));
            let has = |key: &str| options.contains(&format!(r#""{key}": "true""#));
            (has("prefer_nhwc"), has("enable_cuda_graph"))
        };
        assert_eq!([asked(false, true), asked(true, true)], [(false, true); 2]);
        assert_eq!([asked(true, false), asked(false, false)], [(true, false), (false, false)]);
    }
}
