"What `inspect_table` must find in tables made for it, and must not find in others."

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gaussflow.table import SEVERITIES, inspect_table

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(1000, 4))


def rng():
    "A generator for one test, whatever ran before it."
    return np.random.default_rng(1)


def table(**columns):
    "Normal columns beside the given ones, as a frame."
    rows = {len(c) for c in columns.values()}
    (rows,) = rows
    normal = {f"n{i}": NORMAL[:rows, i] for i in range(2)}
    return pd.DataFrame({**normal, **columns})


def kinds(report, name):
    return {f.kind for f in report if name in f.columns}


def alarms(report):
    "All findings but hints and those about units."
    return [str(f) for f in report if f.kind != "units" and f.severity != "hint"]


# Case 9: the likelihood has no bound


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint8"])
@pytest.mark.parametrize("value", [0, 1, 100])
def test_case_09_constant_columns(dtype, value):
    x = np.full(300, value, dtype)
    report = inspect_table(table(c=x))
    assert report.columns_with("constant") == ["c"]
    assert kinds(report, "c") == {"constant"}  # and nothing else is said of it
    assert f"column 'c' is {value} in every row" in str(report)
    assert report[0].severity == "unbounded"


def test_case_09_constant_up_to_rounding_in_the_columns_own_dtype():
    shares = rng().dirichlet(np.ones(5), 500)
    ones = shares.sum(axis=1)  # 1, and 1 plus or minus 1e-16
    assert len(np.unique(ones)) > 1
    assert inspect_table(ones).columns_with("constant") == [0]
    single = shares.astype("float32").sum(axis=1)
    assert len(np.unique(single)) > 1
    assert inspect_table(single).columns_with("constant") == [0]
    # a spread that float64 holds well is no constant, whatever float32 makes of it
    assert kinds(inspect_table(1 + 1e-9 * NORMAL[:, 0]), 0) == {"float32", "units"}


def test_case_09_a_column_of_zeros_and_ones():
    x = (rng().uniform(size=1000) < 0.41).astype(float)
    report = inspect_table(table(flag=x))
    (finding,) = [f for f in report if f.kind == "tied"]
    np.testing.assert_allclose(finding.value, max(x.mean(), 1 - x.mean()))
    assert "column 'flag' takes 2 values" in finding.message
    assert "as a context" in finding.remedy


def test_case_09_cylinders():
    values = np.repeat([3, 4, 5, 6, 8], [10, 410, 10, 270, 300])
    report = inspect_table(table(cylinders=rng().permutation(values)))
    (finding,) = [f for f in report if f.kind == "tied"]
    message = "column 'cylinders' takes 5 values; 41 % of the rows are 4: its density "
    assert finding.message == message + "has no bound."
    assert "its spacing, 1 (`UniformDequantization`" in finding.remedy
    assert report.columns_with("grid") == ["cylinders"]
    assert str(report).count("'cylinders'") == 1 + len(
        kinds(report, "cylinders") & {"units"}
    )


@pytest.mark.parametrize("share", [0.06, 0.2, 0.6])
def test_case_09_a_heap_in_a_continuous_column(share):
    x = np.where(np.arange(1000) < 1000 * share, 0.0, rng().exponential(size=1000))
    report = inspect_table(table(rain=rng().permutation(x)))
    assert kinds(report, "rain") - {"units"} == {"tied"}
    assert f"{100 * share:.2g} % of the rows are 0" in str(report)


def test_case_09_few_distinct_values_without_a_heap():
    values = rng().normal(size=40)  # on no grid, each 2.5 %
    report = inspect_table(table(level=np.repeat(values, 25)))
    assert kinds(report, "level") == {"tied"}
    assert "takes 40 values" in str(report)


@pytest.mark.parametrize(
    "step, x",
    [
        (1, RNG.integers(-50, 200, 900)),
        (1, RNG.poisson(200, 900)),
        (5, 5 * RNG.integers(0, 90, 900)),
        (0.5, RNG.integers(0, 90, 900) / 2),
        (0.01, np.round(RNG.normal(0, 3, 900), 2)),
        (0.01, np.round(RNG.normal(1000, 3, 900), 2)),
        (0.1, 20 + 0.1 * RNG.integers(0, 900, 900)),
        (1 / 3, RNG.integers(0, 90, 900) / 3),
        (2.5, RNG.integers(0, 90, 900) * 2.5 + 0.7),
        (1, np.concatenate([RNG.choice([4, 7, 9], 899), [60]])),  # gaps 2, 3 and 51
        (1e-5, np.round(RNG.normal(0, 3e-3, 900), 5)),
        (1e6, 1e6 * RNG.integers(0, 90, 900)),
    ],
)
def test_case_09_grids(step, x):
    report = inspect_table(x)
    (finding,) = [f for f in report if f.kind == "grid"]
    np.testing.assert_allclose(finding.value, step, rtol=1e-8)
    off = (
        x / finding.value - np.round((x - x[0]) / finding.value) - x[0] / finding.value
    )
    assert np.abs(off).max() < 1e-6  # by its meaning


@pytest.mark.parametrize("step", [1, 0.5, 0.1, 0.01])
def test_case_09_grids_in_float32(step):
    x = (step * rng().integers(0, 500, 900)).astype("float32")
    (finding,) = [f for f in inspect_table(x) if f.kind == "grid"]
    np.testing.assert_allclose(finding.value, step, rtol=1e-4)


@pytest.mark.parametrize(
    "x",
    [
        np.round(NORMAL[:, 0], 4),  # a step of 1e-4 beside a spread of 1
        np.round(NORMAL[:, 0], 12),
        RNG.integers(0, 10**6, 1000),
        np.append(np.round(NORMAL[:, 0], 2), np.pi),  # one value off the grid
        NORMAL[:, 0].astype("float16"),
        NORMAL[:, 0].astype("float32"),
    ],
)
def test_case_09_no_visible_grid(x):
    assert inspect_table(x).columns_with("grid") == []


def test_case_09_copies():
    a, b = NORMAL[:, 0], NORMAL[:, 1]
    frame = pd.DataFrame(
        {"a": a, "b": b, "equal": a, "inches": b / 2.54, "f": 32 - 1.8 * a}
    )
    found = {f.columns: f.message for f in inspect_table(frame) if f.kind == "copy"}
    assert set(found) == {("equal", "a"), ("inches", "b"), ("f", "a")}
    assert "column 'equal' equals column 'a'" in found["equal", "a"]
    assert "is column 'b' times 0.394:" in found["inches", "b"]
    assert "is column 'a' times -1.8, plus 32:" in found["f", "a"]


@pytest.mark.parametrize(
    "noise, seen", [(0, True), (1e-8, True), (1e-5, False), (1e-3, False)]
)
def test_case_09_copies_are_exact_to_what_float32_tells_apart(noise, seen):
    copy = 3 * NORMAL[:, 0] + noise * NORMAL[:, 1] - 7
    report = inspect_table(np.column_stack([NORMAL[:, 0], copy]))
    assert bool(report.columns_with("copy")) == seen
    mixed = NORMAL[:, 0] - 0.3 * NORMAL[:, 1] + noise * NORMAL[:, 2]
    report = inspect_table(np.column_stack([NORMAL[:, :2], mixed]))
    assert bool(report.columns_with("linear")) == seen


def test_case_09_a_copy_of_a_rare_value():
    "Rows are thinned for the correlations; a column with few ones must not get lost."
    rare = np.zeros(10_000)
    rare[[17, 3333, 9001]] = 1
    x = np.random.default_rng(0).normal(size=(10_000, 2))
    report = inspect_table(np.column_stack([x, rare, 2 - rare]))
    assert [f.columns for f in report if f.kind == "copy"] == [(3, 2)]


def test_case_09_sums_of_rare_values():
    "The same for combinations: each rare column has to be known from the others."
    rare = np.zeros((10_000, 2))
    rare[[17, 3333, 9001], 0] = rare[[23, 4441], 1] = 1
    x = np.random.default_rng(0).normal(size=(10_000, 2))
    report = inspect_table(np.column_stack([x, rare, rare.sum(axis=1)]))
    assert [f.columns for f in report if f.kind == "linear"] == [(4, 2, 3)]
    assert report.columns_with("copy") == []


def test_case_09_copies_to_the_rounding_of_their_dtype():
    "Near 1000 float32 is 6e-5 coarse: the copy is off by more than a millionth."
    x = (1000 + NORMAL[:, :2]).astype("float32")
    sum_, copy = x[:, 0] + x[:, 1], np.float32(0.7) * x[:, 0]
    assert np.abs(0.7 * x[:, 0].astype(float) - copy).max() > 1e-5
    report = inspect_table(np.column_stack([x, copy, sum_]))
    assert [f.columns for f in report if f.kind == "copy"] == [(2, 0)]
    assert [f.columns for f in report if f.kind == "linear"] == [(3, 0, 1)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_case_09_linear_combinations_name_the_columns_involved(dtype):
    x = rng().lognormal(size=(1000, 12)).astype(dtype) * 10.0 ** np.arange(-3, 9)
    total = x[:, 2] + x[:, 3] / 7 + 12
    late = -2 * x[:, 5] + 3 * x[:, 8] / 1000 + x[:, 11] / 1e6
    report = inspect_table(np.column_stack([x, total, late]).astype(dtype))
    found = {f.columns for f in report if f.kind == "linear"}
    assert found == {(12, 2, 3), (13, 5, 8, 11)}
    assert report.columns_with("copy") == []
    assert "column 12 is a linear combination of columns 2 and 3" in str(report)


def test_case_09_shares_that_sum_to_one():
    shares = rng().dirichlet(np.ones(6), 500)
    (finding,) = [f for f in inspect_table(shares) if f.kind == "linear"]
    assert finding.columns == (5, 0, 1, 2, 3, 4)


def test_case_09_ranks_agree_with_singular_values():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rank = rng.integers(2, 9)
        x = rng.normal(size=(200, rank)) @ rng.normal(size=(rank, 10)) + rng.normal(
            size=10
        )
        found = inspect_table(x)
        redundant = 10 - np.linalg.matrix_rank(x - x.mean(0))
        assert (
            sum(f.kind == "linear" for f in found)
            == len(found.columns_with("linear"))
            == redundant
        )


def test_case_09_nearly_dependent_columns_are_no_combination():
    x = np.vander(np.linspace(-1, 1, 500), 10)[:, :9]  # powers, strongly correlated
    assert np.linalg.cond(x) > 500
    assert inspect_table(x).columns_with("linear") == []


def test_case_09_few_rows():
    x = np.random.default_rng(0).normal(size=(8, 8))
    report = inspect_table(x)
    assert [f.kind for f in report] == ["few_rows"]
    assert "8 rows for 8 columns" in str(report)
    assert "Linear combinations were not looked for" in str(report)
    assert inspect_table(np.vstack([x, x[:1] + 1])).columns_with("few_rows") == []


LAWS = [
    stats.norm(),
    stats.uniform(),
    stats.expon(),
    stats.logistic(),
    stats.gamma(2),
    stats.beta(0.5, 0.5),
    stats.gumbel_r(),
    stats.lognorm(0.7),
    stats.t(5),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_case_09_no_false_alarms_on_continuous_tables(dtype):
    "Two hundred tables of nine laws, mixed linearly or not: nothing but units, ever."
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = int(rng.choice([15, 60, 400, 3000]))
        x = np.column_stack([law.rvs(rows, random_state=rng) for law in LAWS])
        x = x @ rng.normal(size=(9, 9)) if seed % 3 == 0 else x
        x = (x - x.mean(0)) / x.std(0) * 10.0 ** rng.integers(-3, 4)
        found += alarms(inspect_table((x + rng.normal(size=9)).astype(dtype)))
    assert len(found) <= 2, found  # outliers in a tail, at most


def test_case_09_heavy_tails_alarm_seldom_and_errors_always():
    tails = {"t(3)": stats.t(3), "lognormal": stats.lognorm(1)}
    for label, law in tails.items():
        rate = np.mean(
            [
                len(alarms(inspect_table(law.rvs(1000, random_state=s))))
                for s in range(100)
            ]
        )
        assert rate <= 0.05, (label, rate)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.normal(50, 5, 1000)
        rows = np.sort(rng.choice(1000, 3, replace=False))
        x[rows] = rng.choice([-999, 5000, 1e6, 1e300], 3)
        (finding,) = [f for f in inspect_table(x) if f.kind == "outliers"]
        assert (
            f"3 rows far from all others (rows {', '.join(map(str, rows))})"
            in finding.message
        )


def test_case_09_real_tables():
    from sklearn import datasets

    cancer = inspect_table(datasets.load_breast_cancer(as_frame=True).data)
    assert {f.kind for f in cancer} == {"grid", "units", "bounded"}
    assert "worst texture" in cancer.columns_with("grid")
    digits = inspect_table(datasets.load_digits(as_frame=True).data)
    assert digits.columns_with("constant") == ["pixel_0_0", "pixel_4_0", "pixel_4_7"]
    assert len(digits.columns_with("tied")) == 61
    assert len(str(digits).splitlines()) < 20
    iris = inspect_table(datasets.load_iris(as_frame=True).data)
    assert len(iris.columns_with("tied")) == len(iris.columns_with("grid")) == 4


# Case 2: what float32 loses


def test_case_02_inspect_a_date_in_seconds():
    x = 1.7e9 + 30 * np.random.default_rng(0).normal(size=10_000)
    (finding,) = [
        f for f in inspect_table(pd.DataFrame({"when": x})) if f.kind == "float32"
    ]
    assert finding.severity == "warning" and finding.columns == ("when",)
    assert f"3 of {len(np.unique(x)):,} distinct values" in finding.message
    assert "standardize=True" in finding.remedy
    np.testing.assert_allclose(finding.value, 128 / x.std())
    assert alarms(inspect_table(x - x.mean())) == []


@pytest.mark.parametrize(
    "size, seen", [(1e3, False), (1e5, True), (1e9, True), (1e11, True)]
)
def test_case_02_inspect_spacing_against_spread(size, seen):
    x = size + NORMAL[:, 0]
    assert bool(inspect_table(x).columns_with("float32")) == seen
    spacing = np.diff(
        np.sort(np.array([size, np.nextafter(np.float32(size), np.inf)]))
    )[0]
    assert (spacing > 1e-3) == seen  # the rule, by another route
    assert (
        inspect_table(x).columns_with("constant")
        == inspect_table(x).columns_with("tied")
        == []
    )


@pytest.mark.parametrize("scale", [1e-320, 1e-40, 1e35, 1e200, 1e307])
def test_case_02_inspect_sizes_beyond_float32(scale):
    x = scale * NORMAL[:, 0]
    assert kinds(inspect_table(x), 0) >= {"float32"}
    assert (
        inspect_table(x / scale if scale > 1e-300 else NORMAL[:, 0]).columns_with(
            "float32"
        )
        == []
    )


def test_case_02_inspect_a_column_that_is_float32_already():
    x = (1.7e9 + 3000 * NORMAL[:, 0]).astype("float32")
    (finding,) = [f for f in inspect_table(x) if f.kind == "float32"]
    assert "Read it as float64 at its source" in finding.remedy


def test_case_03_inspect_units():
    x = {"far": 4 + NORMAL[:, 0], "wide": 6 * NORMAL[:, 1], "thin": 0.1 * NORMAL[:, 2]}
    report = inspect_table(pd.DataFrame({**x, "fine": 2 + 3 * NORMAL[:, 3]}))
    assert report.columns_with("units") == ["far", "wide", "thin"]
    assert all(f.remedy == "Use `standardize=True`." for f in report)


# Cases 11 and 24: what is missing, and what is no number


def test_case_11_inspect_masked_rows():
    x = np.ma.array(NORMAL[:, :3].copy(), mask=np.zeros((1000, 3), bool))
    x[7, 1] = x[70, 1] = np.ma.masked
    x.data[7, 1] = 1e9  # what stands under the mask does not count
    x[900, 2] = np.nan
    report = inspect_table(x, columns=["a", "b", "c"])
    assert [f.kind for f in report] == ["missing", "missing"]
    assert "column 'b' has 2 masked entries, first in row 7" in str(report)
    assert "column 'c' has 1 NaN entry, first in row 900" in str(report)
    assert report[0].severity == "refuse"
    assert not inspect_table(np.ma.array(NORMAL))  # no mask at all
    assert inspect_table(np.ma.array(NORMAL[:, 0], mask=NORMAL[:, 0] > 0)).columns_with(
        "missing"
    ) == [0]


def test_case_11_inspect_gaps_do_not_hide_the_rest():
    x = np.column_stack([NORMAL, NORMAL[:, 0] + NORMAL[:, 1], 2 * NORMAL[:, 2]])
    x[3, 0] = np.nan
    x[5, 5] = -np.inf
    report = inspect_table(x)
    assert report.columns_with("missing") == [0, 5]
    assert "1 infinite entry, first in row 5" in str(report)
    assert [f.columns for f in report if f.kind == "copy"] == [(5, 2)]
    assert [f.columns for f in report if f.kind == "linear"] == [(4, 0, 1)]
    empty = inspect_table(np.full((20, 2), np.nan))
    assert [f.kind for f in empty] == ["missing", "missing"]


def test_case_24_inspect_nullable_and_bool_columns_are_read():
    frame = pd.DataFrame(
        {
            "count": pd.array([3, None, 5, 8] * 50, dtype="Int64"),
            "yes": pd.array([True, False, None, True] * 50, dtype="boolean"),
            "real": pd.array(
                np.where(np.arange(200) == 9, None, NORMAL[:200, 0]), dtype="Float64"
            ),
            "flag": [True, False] * 100,
            "full": pd.array(NORMAL[:200, 1], dtype="Float64"),
            "object": pd.Series(
                [1, 2.5, None, True, decimal.Decimal("7.25")] * 40, dtype=object
            ),
        }
    )
    report = inspect_table(frame)
    counts = {f.columns[0]: f.value for f in report if f.kind == "missing"}
    assert counts == {"count": 50, "yes": 50, "real": 1, "object": 40}
    assert "column 'real' has 1 empty entry, first in row 9" in str(report)
    assert report.columns_with("tied") == ["count", "yes", "flag", "object"]
    assert kinds(report, "full") == set()
    assert report.columns_with("text") == report.columns_with("type") == []


def test_case_24_inspect_columns_without_numbers():
    days = pd.to_datetime(["2024-01-01", "2024-01-02"] * 50)
    columns = {
        "word": ["a", "b"] * 50,
        "old word": np.array(["a", "b"] * 50, dtype=object),
        "category": pd.Categorical(["u", "v"] * 50),
        "coded": pd.Categorical([1, 2] * 50),
        "mixed": [1.0, "?"] * 50,
        "bytes": np.array([b"a", b"b"] * 50),
        "day": days,
        "zone": days.tz_localize("UTC"),
        "date": [datetime.date(2024, 1, 1)] * 100,
        "wait": days - days[0],
        "complex": np.ones(100) + 1j,
        "list": [[1, 2]] * 100,
    }
    report = inspect_table(table(**columns))
    assert report.columns_with("text") == list(columns)[:6]
    assert report.columns_with("type") == list(columns)[6:]
    remedies = {f.columns[0]: f.remedy for f in report}
    for name in ("day", "zone", "date", "wait"):
        assert remedies[name].startswith("Give dates as days since a start"), name
    assert "first '?' in row 1" in str(
        next(f for f in report if f.columns == ("mixed",))
    )
    assert {f.severity for f in report} == {"refuse"}
    assert len(report) == len(columns)


@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int64", "float16", "float32", "float64", "longdouble", "bool"],
)
def test_case_24_inspect_every_numeric_dtype(dtype):
    x = np.column_stack([np.arange(120) % 2, np.arange(120)]).astype(dtype)
    report = inspect_table(x)
    assert report.columns_with("tied") == ([0] if dtype != "bool" else [0, 1])
    assert report.columns_with("missing") == report.columns_with("type") == []


class PolarsLike:
    "As much of a frame as polars has: no iloc, columns by name, its own dtypes."

    def __init__(self, data):
        self.data, self.columns = data, list(data)

    def __len__(self):
        return len(next(iter(self.data.values())))

    def head(self, n):
        return PolarsLike({name: c[:n] for name, c in self.data.items()})

    def __getitem__(self, name):
        return SeriesLike(self.data[name])


class SeriesLike:
    class Dtype:
        def __str__(self):
            return "Float64"

    def __init__(self, values):
        self.values, self.dtype = values, self.Dtype()

    def null_count(self):
        return int(np.isnan(self.values).sum())

    def to_numpy(self):
        return self.values


def test_case_24_inspect_tables_of_every_make_agree():
    x = np.column_stack([NORMAL[:300, :2], np.arange(300) % 3, 2 * NORMAL[:300, 1]])
    x[4, 0] = np.nan
    names = list("abcd")
    frame = pd.DataFrame(x, columns=names)
    records = np.rec.fromarrays(x.T, names=names)
    arrays = [x, np.asfortranarray(x), x.tolist(), np.ma.array(x), x.astype(object)]
    expected = [str(f) for f in inspect_table(frame)]
    expected = [m.replace("1 empty", "1 NaN") for m in expected]
    assert {f.kind for f in inspect_table(frame)} >= {"missing", "tied", "copy", "grid"}
    for other in [frame, records, PolarsLike(dict(zip(names, x.T)))]:
        got = [str(f).replace("1 empty", "1 NaN") for f in inspect_table(other)]
        assert got == expected, type(other)
    for array in arrays:
        assert [str(f) for f in inspect_table(array, columns=names)] == expected, type(
            array
        )
    one = inspect_table(frame["c"])
    assert one.columns == ["c"] and kinds(one, "c") == {"tied", "grid"}
    assert inspect_table(x[:, 2].tolist()).columns_with("tied") == [0]


def test_case_24_inspect_tensors():
    from keras import ops

    report = inspect_table(ops.convert_to_tensor(np.eye(30, 3, dtype="float32")))
    assert report.columns_with("tied") == [0, 1, 2]


def test_case_24_inspect_names():
    frame = pd.DataFrame(np.full((40, 3), 5.0), columns=["a", "a", ("b", 1)])
    report = inspect_table(frame)
    assert [f.columns for f in report] == [("a",), ("a",), (("b", 1),)]
    assert inspect_table(frame, columns=[1, 2, 3]).columns_with("constant") == [1, 2, 3]
    with pytest.raises(ValueError, match="Expected 3 column names, received 2 names"):
        inspect_table(frame, columns=["a", "b"])


@pytest.mark.parametrize(
    "x",
    [
        None,
        3,
        3.5,
        "a.csv",
        {"x": NORMAL},
        [[], []],
        np.float64(1),
        np.zeros(()),
        object(),
    ]
    + [
        [[1, 2], [3]],
        [["a", 1], ["b"]],
        np.zeros((3, 4, 5)),
        iter([1]),
        {1, 2},
        pd,
        lambda: 1,
    ],
)
def test_case_24_inspect_refuses_what_is_no_table(x):
    with pytest.raises(
        (TypeError, ValueError), match=r"^Expected a table: .*received [^\n]*$"
    ):
        inspect_table(x)


@pytest.mark.parametrize(
    "n, d", [(0, 3), (1, 1), (1, 4), (2, 1), (2, 2), (3, 1), (3, 40), (4, 3)]
)
def test_case_24_inspect_tables_of_few_rows(n, d):
    report = inspect_table(
        NORMAL[:n, :1] * np.arange(1, d + 1) ** 2.5 + NORMAL[:n, 1:2] * np.arange(d)
    )
    assert report.rows == n and len(report.columns) == d
    assert bool(report.columns_with("few_rows")) == (n <= d)
    str(report)


def test_case_24_inspect_max_rows():
    x = NORMAL.copy()
    x[500:, 0] = 1
    report = inspect_table(x, max_rows=400)
    assert (report.rows, report.rows_seen) == (1000, 400)
    assert not report and "the first 400 rows were looked at" in str(report)
    assert inspect_table(x).columns_with("tied") == [0]
    for other in (
        pd.DataFrame(x),
        PolarsLike(dict(enumerate(x.T))),
        x.tolist(),
    ):
        assert inspect_table(other, max_rows=400).rows_seen == 400
    assert inspect_table(x, max_rows=None).rows_seen == 1000


def test_case_24_inspect_the_report_is_a_list():
    report = inspect_table(
        np.column_stack([NORMAL[:, 0], np.ones(1000), NORMAL[:, 1] * 9])
    )
    assert (
        [f.kind for f in report] == ["constant", "units"]
        and len(report) == 2
        and report
    )
    assert report[0] is next(iter(report)) and report[-1].kind == "units"
    assert all(f.severity == SEVERITIES[f.kind] for f in report)
    with pytest.raises(ValueError, match="received 'knots'"):
        report.columns_with("knots")
    clean = inspect_table(NORMAL)
    assert not clean and str(clean) == "1,000 rows, 4 columns: nothing found."


def test_case_24_inspect_leaves_the_table_alone():
    x = np.ma.array(NORMAL.copy(), mask=NORMAL > 2)
    frame = pd.DataFrame(NORMAL.copy())
    frame.iloc[3, 2] = np.inf
    before = frame.copy()
    inspect_table(x)
    inspect_table(frame)
    np.testing.assert_array_equal(x.data, NORMAL)
    pd.testing.assert_frame_equal(frame, before)


def test_case_09_the_report_of_a_flow_names_such_columns():
    import gaussflow as gf

    x = NORMAL[:400, :2].copy()
    flow = gf.NormalizingFlow([gf.Marginal(gf.Affine())], 2)
    assert not any("bound" in line for line in gf.flow_report(flow, x).verdicts)
    x[:, 1] = np.arange(400) % 2
    report = gf.flow_report(flow, x)
    assert (
        not report.ok
        and "column 1" in str(report)
        and "column 0" not in "".join(report.table)
    )
