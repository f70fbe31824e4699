//! ControlNets beyond what is recorded.

use plugins_diffusion::nets::{Dim, Network};
use plugins_diffusion::tensor::Tensor;

use crate::cases::unet_inputs;
use crate::controlnet_cases::{load, load_unet, run};
use crate::support::{Golden, engines};

const SIDES: [usize; 2] = [9, 11];

#[test]
fn residuals_fit_where_sides_do_not_halve_and_those_of_no_scale_change_nothing() {
    let golden = Golden::checked_in();
    for engine in engines() {
        let mut case = golden.case("unet_sd15_odd");
        let net = load(&golden, "cn_a", &engine);
        let usual = unet_inputs(&case);
        let [height, width] = SIDES.map(|side| side * net.network().downsampling());
        let picture = Tensor::new([1, 3, height, width], vec![0.5; 3 * height * width]);
        let inputs: Vec<&Tensor> = usual.iter().chain([&picture]).collect();
        let residuals = |scale| run(&net, &inputs, scale);
        for (port, residual) in net.network().outputs().iter().zip(residuals(1.0)) {
            let halved = |(dim, side): (&Dim, usize)| match *dim {
                Dim::Halved(_, times) => (0..times).fold(side, |side, _| side.div_ceil(2)),
                other => panic!("{}: {other:?}", port.name),
            };
            let wanted: Vec<usize> = port.dims[2..].iter().zip(SIDES).map(halved).collect();
            assert_eq!(residual.shape()[2..], wanted, "{}", port.name);
        }
        let unet = load_unet(&golden, "sd15-tiny", &engine);
        let with = |scale| {
            let residuals = residuals(scale);
            unet.run(&usual.iter().chain(&residuals).collect::<Vec<_>>()).unwrap()
        };
        case.compare("out", with(0.0).data());
        assert_ne!(with(1.0).data(), with(0.0).data());
    }
}
