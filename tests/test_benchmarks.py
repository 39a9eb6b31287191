"""The yardstick must be right before anything is measured against it, and the harness must write what pages read."""

import importlib
import json
import sys
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    gallery,
    naive,
    our_worker,
    peers,
    scaling,
    tables,
    whole_job,
)
from benchmarks.measure import (  # noqa: E402
    ratio,
    summary,
    take_turns,
    write_arrays,
)
from benchmarks.run import main, parse  # noqa: E402
from benchmarks.speed import measure_speed  # noqa: E402
from gaussflow.densities import check_density  # noqa: E402


def stirred(d, num_blocks=4, seed=0):
    """Return a naive flow with weights away from the identity."""
    flow, rng = naive.make_naive_flow(d, num_blocks), np.random.default_rng(seed)
    for weight in flow.trainable_variables:
        weight.assign(
            weight + rng.normal(scale=0.1, size=weight.shape).astype("float32")
        )
    return flow


def scipy_mixture(x, logits, means, log_scales):
    """Return z and the log-slope in float64, the upper tail from the survival function."""
    x, logits, means, log_scales = (
        np.asarray(a, "float64") for a in (x, logits, means, log_scales)
    )
    weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    mixture = stats.norm(means, np.exp(log_scales))
    cdf, sf = (
        (weights * f(x[..., None])).sum(axis=-1) for f in (mixture.cdf, mixture.sf)
    )
    z = np.where(cdf < 0.5, stats.norm.ppf(cdf), stats.norm.isf(sf))
    return z, np.log(
        (weights * mixture.pdf(x[..., None])).sum(axis=-1)
    ) - stats.norm.logpdf(z)


def test_naive_flow_has_the_source_s_size():
    flow = naive.make_naive_flow(2)
    assert len(flow.bijectors) == 12
    assert sum(int(np.prod(w.shape)) for w in flow.trainable_variables) == 46_800
    x = naive.make_data(300, 2)
    assert flow(x).shape == (300, 2)
    assert flow.log_prob(x).shape == (300,)
    assert flow.sample(7, seed=0).shape == (7, 2)


def test_naive_transform_agrees_with_scipy_where_it_is_not_clipped():
    rng = np.random.default_rng(0)
    x = rng.normal(scale=2, size=(2_000, 3)).astype("float32")
    logits, means, log_scales = rng.normal(size=(3, 2_000, 3, 8)).astype("float32")
    log_scales *= 0.3
    z, log_slope = (
        ops.convert_to_numpy(a) for a in naive.gaussianize(x, logits, means, log_scales)
    )
    z_true, log_slope_true = scipy_mixture(x, logits, means, log_scales)
    middle, near = np.abs(z_true) < 3, np.abs(z_true) < 4
    np.testing.assert_allclose(z[middle], z_true[middle], atol=1e-4)
    np.testing.assert_allclose(
        z[near], z_true[near], atol=2e-3
    )  # 1 - F has few digits left in float32
    np.testing.assert_allclose(log_slope[middle], log_slope_true[middle], atol=3e-4)
    assert (
        np.abs(z).max() < 4.77
    )  # what clipping at 1e-6 does, and the library does not


@pytest.mark.parametrize("d", [2, 6])
def test_naive_log_det_is_that_of_its_jacobian(d):
    flow, x = (
        stirred(d),
        np.random.default_rng(1).normal(scale=0.7, size=(4, d)).astype("float32"),
    )
    step = 1e-2 * np.eye(d, dtype="float32")
    moved = [ops.convert_to_numpy(flow(x + s * e)) for e in step for s in (1, -1)]
    jacobian = np.stack(
        [(moved[2 * i] - moved[2 * i + 1]) / 2e-2 for i in range(d)], axis=-1
    )
    z = ops.convert_to_numpy(flow(x))
    expected = stats.norm.logpdf(z).sum(axis=-1) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(
        ops.convert_to_numpy(flow.log_prob(x)), expected, atol=2e-2
    )


def test_naive_round_trip_on_normal_data():
    flow, x = (
        stirred(6),
        np.random.default_rng(2).normal(size=(500, 6)).astype("float32"),
    )
    error = np.abs(ops.convert_to_numpy(flow.invert(flow(x))) - x).max(axis=-1)
    assert np.median(error) < 1e-4
    assert (
        np.quantile(error, 0.95) < 1e-2
    )  # the clipped tail is lost: that is the point


def test_naive_training_lowers_the_loss_that_log_prob_measures():
    keras.utils.set_random_seed(0)
    flow, x = naive.make_naive_flow(2, num_blocks=1), naive.make_data(512, 2)
    before = -np.mean(ops.convert_to_numpy(flow.log_prob(x)))
    history = flow.fit(x, x, batch_size=512, epochs=40, verbose=0).history["loss"]
    np.testing.assert_allclose(history[0], before, atol=1e-3)
    assert -np.mean(ops.convert_to_numpy(flow.log_prob(x))) < before - 0.1


def test_compiled_naive_is_the_eager_one():
    flow, z = (
        stirred(2, num_blocks=1),
        np.random.default_rng(3).normal(size=(100, 2)).astype("float32"),
    )
    compiled = naive.compile_function(flow.invert)
    error = np.abs(
        ops.convert_to_numpy(compiled(z)) - ops.convert_to_numpy(flow.invert(z))
    )
    assert np.quantile(error, 0.95) < 1e-3


def test_turns_and_ratios():
    order = []
    readings = take_turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        4,
        max_seconds=0,
    )
    assert order == ["a", "b"] * 3  # three rounds at least, then the time is up
    assert set(readings) == {"a", "b"}
    assert ratio([1.0, 3.0, 2.0], [2.0, 4.0, 2.0]) == {
        "median": 0.75,
        "min": 0.5,
        "max": 1.0,
        "rounds": 3,
    }
    assert summary([0.123456789])["median"] == 0.12346


def test_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["sped"])
    assert "received sped" in capsys.readouterr().err


ABOUT = {"date", "python", "keras", "numpy", "backend", "cpu", "cores", "device"}
TINY = "--dims 2 --repeats 1 --steps 2 --warm-epochs 1 --points 64 --memory-points 5000"


def run_tiny(parts, folder):
    main([*parts, *TINY.split(), "--out", str(folder)])
    return [json.loads((folder / f"{part}.json").read_text()) for part in parts]


def test_a_tiny_run_writes_what_pages_read(tmp_path):
    (transform,) = run_tiny(["transform"], tmp_path)
    assert set(transform["about"]) >= ABOUT
    assert transform["settings"]["repeats"] == 1
    assert transform["figures"]["transform_d1_ratio_xla"]["median"] > 0
    assert transform["figures"]["bins_d1_ratio"]["median"] > 0


def test_speed_measures_ours_against_naive():
    settings = {
        "steps": 2,
        "warm_epochs": 1,
        "repeats": 1,
        "points": 64,
        "max_seconds": 1.0,
    }
    figures = measure_speed(2, settings, num_blocks=1)
    for quantity in (
        "train_step_d2_ratio",
        "log_prob_d2_ratio_compiled",
        "sample_d2_ratio_eager",
    ):
        assert figures[quantity]["median"] > 0
    assert np.isfinite(
        [
            figures["train_step_d2_ours_last_loss"],
            figures["train_step_d2_naive_last_loss"],
        ]
    ).all()


@pytest.mark.slow
def test_every_part_runs(tmp_path):
    first, speed, jit, memory = run_tiny(["first", "speed", "jit", "memory"], tmp_path)
    assert first["figures"]["tensorflow_d2_sample_100_s"] > 0
    assert first["figures"]["tensorflow_d2_copy_sample_many_s"] > 0
    assert speed["figures"]["sample_d2_ours_s"]["median"] > 0
    assert jit["figures"]["tensorflow_cpu_d2_ratio_on_off"]["median"] > 0
    assert (
        memory["figures"]["memory_sample_output_mib"] == 0.0
    )  # 5,000 points: 0.04 MiB
    assert set(speed["about"]) >= ABOUT
    assert set(jit["about"][0]) >= ABOUT


PEER_SETTINGS = peers.SETTINGS | {
    "couplings": 2,
    "hidden": [8],
    "steps": 4,
    "checks": 2,
    "seeds": [0, 1],
    "fresh_points": 200,
}
PEER_SETTINGS |= {
    "train_points": dict.fromkeys(peers.DATASETS, 300),
    "speed_steps": 3,
    "repeats": 1,
    "max_seconds": 1.0,
}


class NormalPeer:
    """Answers like the worker, with a standard normal density for a flow; it needs no other environment."""

    parameters = None  # as many as asked for; set to refuse

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, do, **request):
        return getattr(self, do)(**request)

    def about(self):
        return {"threads": 1}

    def threads(self, num):
        return {}

    def make(self, law, d, seed, couplings, hidden, bins, **_):
        kept, outputs = (
            [d // 2, d - d // 2] * (couplings // 2),
            {"affine": 2, "spline": 3 * bins - 1}[law],
        )
        sizes = [[k, *hidden, outputs * (d - k)] for k in kept]
        return {
            "parameters": self.parameters
            or sum((a + 1) * b for size in sizes for a, b in pairwise(size))
        }

    def train(self, file, batch_size):
        with np.load(file) as arrays:
            assert len(arrays["order"]) in (
                2 * batch_size,
                3 * batch_size,
            )  # one of two checks, or a reading of the times
        return {"step_seconds": 0.001}

    def log_prob(self, file, out=None):
        if out is not None:
            np.savez(out, log_prob=stats.norm.logpdf(np.load(file)["x"]).sum(axis=1))
        return {"seconds": 0.001}

    def sample(self, num):
        return {"seconds": 0.001}

    def keep(self):
        return {}

    def restore(self):
        return {}


def test_ten_gaussians_keep_the_promises_of_a_density():
    check_density(peers.TenGaussians(dim=3, parts=2))
    one = peers.TenGaussians(dim=5, parts=1)
    normal = stats.multivariate_normal(
        one.means[0], one.axes[0] @ np.diag(one.scales**2) @ one.axes[0].T
    )
    x = one.sample(100, seed=1)
    np.testing.assert_allclose(one.log_prob(x), normal.logpdf(x), rtol=1e-10)
    np.testing.assert_allclose(one.entropy()[0], normal.entropy(), rtol=1e-12)


def test_a_table_is_split_once_and_standardised_by_its_training_part():
    table = np.random.default_rng(0).normal(3.0, 2.0, size=(1_000, 2))
    train, choice, fresh, density = peers.split_table(table)
    assert (train.shape, choice.shape, fresh.shape, density) == (
        (800, 2),
        (100, 2),
        (100, 2),
        None,
    )
    np.testing.assert_allclose(
        [train.mean(axis=0), train.std(axis=0)], [[0, 0], [1, 1]], atol=1e-5
    )
    assert len(np.unique(np.concatenate([train, choice, fresh])[:, 0])) == 1_000
    np.testing.assert_array_equal(fresh, peers.split_table(table).fresh)


def test_tables_need_a_folder():
    with pytest.raises(
        ValueError, match=r"Expected --data .* kin8nm.txt, received none"
    ):
        peers.load_data("kin8nm", None, PEER_SETTINGS)


def test_batches_are_permutations_one_after_another():
    order = peers.make_order(10, 6, {"batch_size": 4}, seed=0)
    assert len(order) == 24
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    np.testing.assert_array_equal(
        order, peers.make_order(10, 6, {"batch_size": 4}, seed=0)
    )


def test_the_best_look_is_kept():
    values, kept, seen = iter([3.0, np.nan, 1.0, 2.0]), [], []
    peers.fit(
        lambda rows: seen.extend(rows),
        lambda: next(values),
        lambda: kept.append(len(seen)),
        np.arange(8),
        {"checks": 4},
    )
    assert (kept, seen) == ([2, 6], list(range(8)))


def test_the_verdict_is_one_standard_error_of_the_paired_difference_or_two_hundredths():
    noise = np.random.default_rng(0).normal(size=(3, 400))
    differences = np.full((3, 400), 0.01) + 0.1 * np.tile(
        noise[0] - noise[0].mean(), (3, 1)
    )
    figures = peers.judge(noise + differences, noise, known=noise[0])
    np.testing.assert_allclose(
        figures["difference_se"], stats.sem(differences[0]), atol=1e-5
    )
    assert (
        figures["allowed"] == figures["difference_se"] < 0.01 == figures["difference"]
    )
    assert not figures["met"]
    assert peers.judge(noise + 5 * differences - 0.045, noise)["allowed"] == 0.02
    assert peers.judge(noise - 0.01, noise)["met"]
    assert set(peers.judge(noise, None)) == {"ours", "ours_seeds"}
    with pytest.raises(
        ValueError, match="Expected finite log-densities of peer, received 1 others"
    ):
        peers.judge(noise, np.where(noise == noise.max(), np.nan, noise))


def test_ours_is_measured_against_a_peer():
    data = peers.load_data("two moons", None, PEER_SETTINGS)
    figures = peers.measure_nll("affine", data, PEER_SETTINGS, NormalPeer())
    np.testing.assert_allclose(
        figures["peer"],
        stats.norm.logpdf(data.fresh).sum(axis=1).mean() * -1,
        atol=1e-5,
    )
    assert (
        figures["ours"] < figures["peer"]
    )  # ours starts as that normal density and has taken four steps
    times = peers.measure_times("affine", data, PEER_SETTINGS, NormalPeer())
    assert (
        min(times[f"{what}_ratio"]["median"] for what in ("step", "log_prob", "sample"))
        > 0
    )


def test_a_stored_run_is_renewed_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "Peer", NormalPeer)
    monkeypatch.setattr(peers, "SETTINGS", PEER_SETTINGS)
    options = [
        "peers",
        "--only",
        "nll",
        "--datasets",
        "two moons",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path),
        "--laws",
    ]
    main([*options, "affine"])
    main([*options, "mixture"])
    text = (tmp_path / "peers.json").read_text()
    stored = json.loads(text)
    assert {"nll_two_moons_affine_met", "nll_two_moons_mixture_ours"} <= set(
        stored["figures"]
    )
    assert set(stored["about"]["nll"]) >= ABOUT | {"peers"}
    assert stored["settings"]["nll"]["steps"] == 4
    assert str(tmp_path) not in text
    monkeypatch.setattr(peers, "SETTINGS", PEER_SETTINGS | {"steps": 2, "seeds": [0]})
    main([*options, "mixture"])
    assert not any(
        "affine" in key
        for key in json.loads((tmp_path / "peers.json").read_text())["figures"]
    )
    with pytest.raises(
        ValueError,
        match="Expected --laws among affine, spline, mixture, received cubic",
    ):
        main([*options, "cubic"])


def test_a_peer_of_another_size_is_refused():
    peer = NormalPeer()
    peer.parameters = 7
    with pytest.raises(ValueError, match="received one with 7"):
        peers.start_peer(peer, "spline", 4, PEER_SETTINGS, seed=0)


@pytest.mark.parametrize("library", ["zuko", "nflows"])
@pytest.mark.parametrize("law", ["affine", "spline"])
def test_the_worker_keeps_the_half_that_ours_keeps(library, law):
    pytest.importorskip(library)
    torch, worker = (
        pytest.importorskip("torch"),
        importlib.import_module("benchmarks.peer_worker").Worker(library),
    )
    names = (
        "couplings",
        "hidden",
        "bins",
        "bound",
        "steps",
        "learning_rate",
        "epsilon",
    )
    request = {
        "law": law,
        "d": 5,
        "seed": 0,
        **{name: PEER_SETTINGS[name] for name in names},
        "couplings": 1,
    }
    worker.make(request)
    x = torch.randn(20, 5)
    transform = (
        worker.flow().transform
        if library == "zuko"
        else lambda x: worker.flow._transform(x)[0]
    )
    moved = (transform(x) != x).detach().numpy()
    np.testing.assert_array_equal(
        moved, np.tile([False, False, True, True, True], (20, 1))
    )


GLOW = {
    "event": [8, 4, 3],
    "levels": 2,
    "blocks": 1,
    "hidden": 6,
    "prior": "pixel",
    "seed": 0,
    "steps": 4,
    "learning_rate": 1e-3,
}


@pytest.mark.parametrize(
    "changed", [{}, {"alpha": 0.05}, {"prior": "channel"}, {"scale_map": "exp"}]
)
def test_the_worker_makes_a_glow_of_normflows(tmp_path, changed):
    "Its density is the change of variables; bytes get noise in training, and the first images that it sees set its ActNorms."
    pytest.importorskip("normflows")
    torch, module = (
        pytest.importorskip("torch"),
        importlib.import_module("benchmarks.peer_worker"),
    )
    worker = module.Worker("normflows")
    request = GLOW | {"epsilon": 1e-7} | changed
    steps = [
        2 * c + c * c + (9 * c // 2 * 6 + 6) + (36 + 6) + (54 * c + c) for c in (12, 24)
    ]  # ActNorm, 1x1 convolution, network
    assert worker.make(request)["parameters"] == sum(steps) + (
        2 * 96 if request["prior"] == "pixel" else 4 * (6 + 24)
    )
    x, out = (
        np.random.default_rng(0).integers(256, size=(20, 8, 4, 3), dtype="uint8"),
        str(tmp_path / "out.npz"),
    )
    np.savez(tmp_path / "x.npz", x=x, order=np.arange(20))
    file = str(tmp_path / "x.npz")
    worker.adapt({"file": file})
    actnorm = worker.flow.flows[1][0].flows[-1]  # the first that an image meets
    images = module.dequantize(torch.from_numpy(x)).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        inner = (
            worker.flow.transform.inverse(images)[0]
            if "alpha" in request
            else images - 0.5
        )
        z = actnorm.inverse(worker.flow.flows[1][-1].inverse(inner)[0])[0]
    np.testing.assert_allclose(z.mean(dim=(0, 2, 3)), 0.0, atol=0.05)
    np.testing.assert_allclose(z.std(dim=(0, 2, 3)), 1.0, atol=0.05)
    assert np.isfinite(worker.train({"file": file, "batch_size": 5})["loss"])
    one = torch.from_numpy((x[:1] + 0.5) / 256)
    np.savez(tmp_path / "one.npz", x=one.numpy().repeat(3, axis=0).astype("float32"))
    worker.log_prob({"file": str(tmp_path / "one.npz"), "rows": 2, "out": out})
    found = np.load(out)["log_prob"]
    flow, shift = worker.flow.double(), 0.0 if "alpha" in request else 0.5

    def latent(flat):
        parts, _ = flow.inverse_and_log_det(
            (flat.reshape(1, 8, 4, 3) - shift).permute(0, 3, 1, 2).contiguous()
        )
        return torch.cat([part.reshape(-1) for part in parts])

    jacobian = torch.autograd.functional.jacobian(latent, one.reshape(-1))
    parts, _ = flow.inverse_and_log_det((one - shift).permute(0, 3, 1, 2).contiguous())
    base = sum(q.log_prob(part)[0] for q, part in zip(flow.q0, parts))
    np.testing.assert_allclose(
        found,
        3 * [float((torch.linalg.slogdet(jacobian)[1] + base).detach())],
        rtol=1e-4,
    )
    worker.flow.float()
    answer = worker.sample({"num": 3, "temperature": 0.7, "out": out})
    assert np.load(out)["x"].shape == (3, 8, 4, 3) and answer["finite_share"] == 1.0
    with pytest.raises(
        ValueError,
        match=r"Expected numbers with fractions, images with their noise, received torch\.uint8",
    ):
        worker.log_prob({"file": file})
    with pytest.raises(
        ValueError,
        match="Expected a height and a width that 3 squeezes divide, received 8 and 4",
    ):
        worker.make(request | {"levels": 3})


JOB_SETTINGS = whole_job.SETTINGS | {
    "couplings": 2,
    "hidden": [8],
    "bins": 3,
    "xla": False,
    "seeds": [0],
    "fresh_points": 50,
    "rows": 100,
    "train_points": {"two moons": 300},
    "batch_size": 50,
    "speed_steps": {"two moons": 2},
    "repeats": 1,
    "max_seconds": 1.0,
}


class Here(our_worker.Worker):
    "Our worker, asked without a process between."

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, do, **request):
        return getattr(self, do)(request)


def test_a_whole_job_beside_itself_is_a_draw(tmp_path, monkeypatch):
    "Every contender is ours here, so densities agree to the last digit."
    monkeypatch.setattr(whole_job, "start", lambda name, python: Here())
    monkeypatch.setattr(whole_job, "JOBS", {"two moons": 3})
    monkeypatch.setattr(whole_job, "SETTINGS", JOB_SETTINGS)
    options = ("--repeats", "1", "--out", str(tmp_path))
    main(["peers", "--only", "job", "times", *options])
    stored = json.loads((tmp_path / "peers.json").read_text())
    found = stored["figures"]
    assert found["job_two_moons_jax_nll_difference"] == 0
    assert found["job_two_moons_jax_nll_no_worse"] is True
    assert found["job_two_moons_tensorflow_ratio"]["rounds"] == 1
    assert found["times_two_moons_spline_sample_jax_over_flowjax"]["median"] > 0
    assert len(stored["about"]["job"]["peers"]) == 3
    for wrong in (["--datasets", "kin8nm"], ["--laws", "affine"]):
        with pytest.raises(ValueError, match=f"no --laws for job, received {wrong[1]}"):
            main(["peers", "--only", "job", *options, *wrong])


def test_no_worse_means_by_no_more_than_the_error():
    noise = np.random.default_rng(0).normal(size=(3, 1000))
    assert whole_job.no_worse(noise, noise)
    assert not whole_job.no_worse(noise + 0.1, noise)
    wide = noise + np.array([[0.0], [0.2], [-0.1]])  # seeds that differ by more
    assert whole_job.no_worse(wide, noise)


def test_arrays_are_stored_while_they_are_small(tmp_path):
    path = write_arrays(tmp_path / "deep/a.npz", {"map": np.eye(3, dtype="float16")})
    np.testing.assert_array_equal(np.load(path)["map"], np.eye(3))
    noise = np.random.default_rng(0).normal(size=200_000)
    with pytest.raises(ValueError, match="Expected less than 1 MB in b.npz"):
        write_arrays(tmp_path / "b.npz", {"noise": noise})


@pytest.mark.slow
def test_the_gallery_writes_what_its_page_draws(tmp_path):
    few = {"points": 400, "batch_size": 100, "epochs": 1, "grid": 8, "lost_points": 50}
    few |= {"densities": ["rings", "checkerboard"], "seeds": [0, 1]}
    figures, settings, _ = gallery.measure_gallery(tmp_path, few)
    stored = json.loads((tmp_path / "gallery.json").read_text())
    assert stored["figures"] == figures and stored["settings"] == settings
    arrays = np.load(tmp_path / "gallery.npz")
    for name in few["densities"]:
        assert len(figures[f"coupling_{name}_gap"]) == 2
        assert arrays[f"marginal_{name}_map"].shape == (8, 8)
        assert arrays[f"coupling_{name}_lost"].shape == (50,)
        assert f"coupling_{name}_gap_4_blocks_4_epochs" in figures
    assert all(0 < share < 1 for share in figures["coupling_checkerboard_outside"])


def test_tables_measure_what_they_say():
    log_prob, scale = np.array([-1.0, -3.0, -np.inf]), np.array([2.0, 4.0])
    found = tables.measured(log_prob, scale)
    assert found["nll_standardised"] == 2.0
    np.testing.assert_allclose(found["nll"], 2 + np.log(8), atol=1e-4)
    assert (found["rows"], found["rows_without_density"]) == (2, 1)
    rng, levels = np.random.default_rng(0), np.arange(1, 200) / 200
    y = rng.normal(size=4000)
    quantiles = np.tile(stats.norm.ppf(levels), (4000, 1))
    # The CRPS of a standard normal against itself is 1 / sqrt(pi).
    np.testing.assert_allclose(
        tables.pinball(y, quantiles, levels), np.pi**-0.5, atol=0.02
    )
    x = np.arange(30.0).reshape(-1, 1)
    train, test = tables.split_rows(x)
    assert len(train) == 27
    assert sorted(np.concatenate([train, test])[:, 0]) == list(range(30))


def test_tables_go_on_where_they_stopped(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.savetxt(tmp_path / "concrete.txt", rng.normal(size=(60, 2)))
    small = tables.SETTINGS | {"seeds": [0], "components": [1, 2], "bandwidths": [0.5]}
    monkeypatch.setattr(tables, "SETTINGS", small)
    command = ["tables", "--data", str(tmp_path), "--datasets", "concrete"]
    command += ["--out", str(tmp_path), "--only", "GaussianMixture", "KernelDensity"]
    main(command)
    first = json.loads((tmp_path / "tables.json").read_text())["figures"]
    assert len(first) == 2
    assert all(np.isfinite(f["nll"]) for f in first.values())
    monkeypatch.setattr(tables, "split_rows", lambda x: 1 / 0)  # not asked again
    main(command)
    assert json.loads((tmp_path / "tables.json").read_text())["figures"] == first


def test_a_peer_without_a_result_says_why():
    rows = np.zeros((4, 2))
    found, said = tables.fit_peer(sys.executable, "nothing", rows, rows, 0, 60)
    assert found is None
    assert "nothing" in said


def test_one_part_of_scaling_leaves_the_other_and_has_its_machine(
    tmp_path, monkeypatch
):
    parts = {"sizes": lambda: {"step_s": 1.0}, "start": lambda: {"start_s": 2.0}}
    monkeypatch.setattr(scaling, "PARTS", parts)
    path = tmp_path / "scaling.json"
    for part in parts:
        figures, machines = scaling.measure_parts([part], path)
        path.write_text(json.dumps({"about": machines, "figures": figures}))
    assert figures == {"step_s": 1.0, "start_s": 2.0}
    assert set(machines) == {"sizes", "start"}
