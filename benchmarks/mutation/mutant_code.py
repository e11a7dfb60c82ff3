"""Which mutants does a pure module have, and which tests are its own? Mutation operators are cosmic-ray's.

A mutant is the module with one operator, comparison, number or keyword replaced. Of cosmic-ray's operators those are
taken whose mutants say something: each arithmetic operator becomes its opposite, not all eleven others, most of which
raise TypeError at once (selective mutation: Offutt et al., 1996). Annotations are not mutated: they do nothing.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[2]
BINARY = (
    "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Div FloorDiv_Mul Mod_FloorDiv Pow_Mul RShift_LShift LShift_RShift "
    "BitOr_BitAnd BitAnd_BitOr BitXor_BitAnd"
)
COMPARISONS = "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"
OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in BINARY.split()),
    *(f"ReplaceComparisonOperator_{pair}" for pair in COMPARISONS.split()),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Delete_Not", "Delete_Invert")),
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ZeroIterationForLoop",
)

# Module -> what pytest is given: its own tests, without those that start an interpreter, which would have no mutant.
_FROZEN = "tests/test_defaults.py::test_what_decides_a_result_cannot_be_changed"
_DEFAULTS = "tests/test_defaults.py::test_an_integer_in_a_floats_place_is_another_value"
_LOSSES = "tests/trainables/objectives/test_objectives.py"
_SMALL = "tests/trainables/objectives/test_formulas.py"
_PLACES = "tests/sweep/statistics/test_places_and_ranks.py"
_RETRIEVAL = "tests/trainables/evaluation/test_knn_zero_shot_retrieval.py"
_PATIENTS = "tests/sweep/statistics/test_patient_intervals.py"
_COMBINED = "tests/sweep/statistics/test_combined_test.py"
_PLACED = "tests/sweep/statistics/test_placements.py"
_COLUMN = "tests/sweep/statistics/test_column_statistics.py"
_SPEED = "tests/sweep/monitoring/test_throughput.py"
_NEAR = "tests/datasets_io/build/test_near_duplicates.py"
_PAIRS = "tests/datasets_io/corpus/test_batch_pairs.py"
_SCORES = "tests/trainables/evaluation/test_test_scores.py"
_INPUTS = "tests/sweep/studies/test_inputs.py"
_USES = "tests/sweep/studies/test_instances.py"
MODULES: dict[str, tuple[str, ...]] = {
    "datasets_io/build/near_duplicates.py": (
        _NEAR,
        f"--deselect={_NEAR}::test_copies_of_real_radiographs_are_found_and_other_patients_are_not",
        f"--deselect={_NEAR}::test_two_versions_of_one_radiograph_are_found_among_hundreds",
        _FROZEN,
    ),
    "datasets_io/corpus/batch_pairs.py": (
        f"{_PAIRS}::test_one_window_is_uniform_and_the_archives_order_is_not",
        f"{_PAIRS}::test_three_row_groups_in_every_order_that_can_be_drawn",
        f"{_PAIRS}::test_a_row_group_of_one_row_has_no_pair_and_takes_none_from_the_others",
        f"{_PAIRS}::test_unequal_groups_have_the_same_number_in_every_manifest",
        f"{_PAIRS}::test_small_corpora",
        f"{_PAIRS}::test_the_defaults_are_those_of_a_pretraining",
        _FROZEN,
    ),
    "datasets_io/corpus/label_subsets.py": ("tests/datasets_io/corpus/test_label_subsets.py",),
    "datasets_io/corpus/order.py": ("tests/datasets_io/corpus/test_order.py", _FROZEN),
    "datasets_io/fingerprint.py": ("tests/datasets_io/test_fingerprint.py",),
    "datasets_io/nearest.py": ("tests/datasets_io/test_nearest.py",),
    "datasets_io/pixels/shrink.py": (
        "tests/datasets_io/pixels/test_shrink.py",
        "--deselect=tests/datasets_io/pixels/test_shrink.py::test_without_a_folder_to_keep_it_in_the_kernel_is_compiled_all_the_same",
    ),
    "datasets_io/sources/splits.py": ("tests/datasets_io/sources/test_splits.py",),
    "sweep/engine/schedule.py": ("tests/sweep/engine/test_schedule.py", _FROZEN),
    "sweep/monitoring/throughput.py": (
        _SPEED,
        f"--deselect={_SPEED}::test_prometheus_gets_them_from_rays_exporter",
        _FROZEN,
    ),
    "sweep/statistics/column_statistics.py": (_COLUMN, _FROZEN),
    "sweep/statistics/combined_test.py": (
        _COMBINED,
        f"--deselect={_COMBINED}::test_equal_rows_are_told_apart_in_at_most_one_study_of_twenty_whatever_dominates",
        f"--deselect={_COMBINED}::test_the_macro_of_clustered_images_with_unknown_labels_agrees_with_the_bootstrap",
        _FROZEN,
    ),
    "sweep/statistics/comparison_rows.py": (_COLUMN,),
    "sweep/statistics/comparisons.py": ("tests/sweep/statistics/test_comparisons.py", _PLACES, _FROZEN),
    "sweep/statistics/inference.py": ("tests/sweep/statistics/test_inference.py", _FROZEN),
    "sweep/statistics/over_patients.py": ("tests/sweep/statistics/test_over_patients.py", _FROZEN),
    "sweep/statistics/patient_intervals.py": (
        _PATIENTS,
        # Simulations of the coverage, half a minute; a wrong formula is noticed by the others.
        f"--deselect={_PATIENTS}::test_a_finding_is_covered",
        f"--deselect={_PATIENTS}::test_a_finding_with_200_positives_is_covered",
        f"--deselect={_PATIENTS}::test_a_macro_is_covered",
        f"--deselect={_PATIENTS}::test_a_difference_on_the_same_patients_is_covered",
        f"--deselect={_PATIENTS}::test_a_gap_between_two_groups_is_covered",
        _FROZEN,
    ),
    "sweep/statistics/placement_kernel.py": (_PLACED,),
    "sweep/statistics/placements.py": (_PLACED, _COLUMN, _FROZEN),
    "sweep/statistics/subgroups.py": ("tests/sweep/statistics/test_subgroups.py", _FROZEN),
    "sweep/statistics/summaries.py": ("tests/sweep/statistics/test_summaries.py", _FROZEN),
    "sweep/statistics/summary.py": ("tests/sweep/statistics/test_summary.py", _PLACES, _FROZEN),
    "sweep/status/eta.py": ("tests/sweep/status/test_eta.py", _FROZEN),
    "sweep/studies/builds.py": (_USES, _FROZEN),
    "sweep/studies/cell.py": ("tests/sweep/studies/test_plan.py", "tests/test_keys.py", _USES, _INPUTS, _FROZEN),
    "sweep/studies/forecast.py": ("tests/sweep/studies/test_forecast.py", _FROZEN),
    "sweep/studies/inherited.py": (_INPUTS,),
    "sweep/studies/layout.py": ("tests/sweep/studies/test_layout.py", _FROZEN),
    "sweep/studies/needed_form.py": ("tests/sweep/studies/test_needed_form.py",),
    "sweep/studies/plan.py": ("tests/sweep/studies/test_plan.py", _USES, _FROZEN),
    "sweep/studies/preflight_checks.py": ("tests/sweep/studies/test_preflight_checks.py",),
    "sweep/studies/study.py": (
        _USES,
        "tests/sweep/studies/test_plan.py",
        "tests/sweep/studies/test_study_fingerprint.py",
        _DEFAULTS,
        _FROZEN,
    ),
    "sweep/studies/tunable.py": (
        "tests/sweep/tune/test_search.py",
        "--deselect=tests/sweep/tune/test_search.py::test_the_table_and_the_figure_show_every_trial",
        _DEFAULTS,
        _FROZEN,
    ),
    "sweep/tune/rungs.py": ("tests/sweep/tune/test_search.py::test_rungs_are_three_times_as_far_each_time",),
    "trainables/evaluation/grad_cam.py": (
        "tests/trainables/evaluation/test_grad_cam_places.py",
        "tests/trainables/evaluation/test_grad_cam.py",
    ),
    "trainables/evaluation/knn.py": (_RETRIEVAL, _DEFAULTS, _FROZEN),
    "trainables/evaluation/metrics.py": ("tests/trainables/evaluation/test_metrics.py", _FROZEN),
    "trainables/evaluation/probe.py": ("tests/trainables/evaluation/test_probe.py", _FROZEN),
    "trainables/evaluation/retrieval.py": (_RETRIEVAL, _DEFAULTS, _FROZEN),
    "trainables/evaluation/study_scores.py": (
        f"{_SCORES}::test_studies_are_scored_by_the_maximum_and_by_the_mean_of_probabilities",
        f"{_SCORES}::test_where_each_study_has_one_image_there_is_nothing_to_add",
    ),
    "trainables/evaluation/zero_shot.py": (_RETRIEVAL, _DEFAULTS, _FROZEN),
    "trainables/networks/heads.py": ("tests/trainables/networks/test_heads.py", _DEFAULTS, _FROZEN),
    "trainables/objectives/barlow_twins.py": (_SMALL, _DEFAULTS, _FROZEN, _LOSSES),
    "trainables/objectives/base.py": (_SMALL, _FROZEN, _LOSSES),
    "trainables/objectives/clip.py": (_SMALL, _DEFAULTS, _FROZEN, _LOSSES),
    "trainables/objectives/convirt.py": (_SMALL, _DEFAULTS, _FROZEN),
    "trainables/objectives/joint.py": (_SMALL, _DEFAULTS, _FROZEN, _LOSSES),
    "trainables/objectives/mocov2.py": (_SMALL, "tests/trainables/objectives/test_mocov2.py", _DEFAULTS, _FROZEN),
    "trainables/objectives/simclr.py": (_SMALL, _DEFAULTS, _FROZEN, _LOSSES),
    "trainables/objectives/vicreg.py": (_SMALL, _DEFAULTS, _FROZEN, _LOSSES),
    "trainables/protocols/base.py": ("tests/trainables/protocols/test_protocols.py", _DEFAULTS, _FROZEN),
    "trainables/protocols/registry.py": ("tests/trainables/protocols/test_protocols.py",),
    "trainables/recipe.py": ("tests/trainables/test_recipe.py", _DEFAULTS),
    "trainables/registry.py": ("tests/trainables/test_registry.py",),
    "trainables/training/gradient_cache.py": ("tests/trainables/training/test_gradient_cache.py",),
    "trainables/training/optim.py": ("tests/trainables/training/test_optim.py",),
    "trainables/views/geometry.py": ("tests/trainables/views/test_geometry.py",),
    "trainables/views/parameters.py": (
        "tests/trainables/views/test_parameters.py",
        "tests/trainables/views/test_views.py",
        _DEFAULTS,
        _FROZEN,
    ),
    "trainables/views/preprocessing.py": (
        "tests/trainables/views/test_preprocessing.py",
        "tests/trainables/views/test_geometry.py",
        _DEFAULTS,
        _FROZEN,
    ),
    "trainables/views/view_spec.py": (
        "tests/trainables/views/test_parameters.py",
        "tests/trainables/views/test_views.py",
        _DEFAULTS,
        _FROZEN,
    ),
}


@dataclass(frozen=True)
class Mutant:
    """One mistake in a module, with the whole source that has it.

    module: path below the project's root; where: the function or class, dotted, or `module`; line: of today's source.
    before and after: the line without its indentation, as it is and with the mistake ("" where it is gone).
    """

    module: str
    where: str
    before: str
    after: str
    line: int
    source: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What stays when lines above it come and go."""
        return self.module, self.where, self.before, self.after

    @property
    def rank(self) -> str:
        """A hash that puts mutants into an order that looks random and is the same everywhere."""
        return hashlib.sha256("\n".join(self.name).encode()).hexdigest()


def mutants_of(module: str) -> list[Mutant]:
    """All mutants of a module (its path below the root), each source once, in the order of their lines."""
    source = (ROOT / module).read_text(encoding="utf-8")
    quiet, owners, statements = quiet_places(source), owners_of(source), statements_of(source)
    lines, seen = source.splitlines(), {source}
    found = []
    for (line, column), mutated, gone in mutated_sources(source):
        if mutated in seen or any(start <= (line, column) < stop for start, stop in quiet):
            continue
        mutated_lines = mutated.splitlines()
        first, last = next(span for span in statements if span[0] <= line <= span[1])
        # The statement alone: to compile the whole module for each of its mutants would take most of the time.
        if not compiles("\n".join(mutated_lines[first - 1 : last + len(mutated_lines) - len(lines)])):
            continue
        seen.add(mutated)
        after = "" if gone else mutated_lines[line - 1].strip()
        found.append(Mutant(module, owners.get(line, "module"), lines[line - 1].strip(), after, line, mutated))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.after))


def mutated_sources(source: str) -> Iterator[tuple[tuple[int, int], str, bool]]:
    """((line, column), source with one mutation, whether the node was taken out), operator by operator.

    The tree is parsed once and the mutated node's text put into the source: cosmic-ray's own mutate_code parses it for
    each mutant.
    """
    starts = [0, *accumulate(len(line) for line in parso.split_lines(source, keepends=True))]
    nodes = list(ast_nodes(parso.parse(source)))
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        for node in nodes:
            for index, (start, _) in enumerate(operator.mutation_positions(node)):
                (row, column), (last_row, last_column) = node.get_start_pos_of_prefix(), node.end_pos
                first, last = starts[row - 1] + column, starts[last_row - 1] + last_column
                text = _mutated(node, operator, index)
                yield start, source[:first] + (text or "") + source[last:], text is None


def _mutated(node: Any, operator: Any, index: int) -> str | None:
    """The code of a mutated node, None where it is taken out. The node is as before afterwards."""
    children = list(getattr(node, "children", ()))
    values = [(leaf, leaf.value) for leaf in (node, *children) if hasattr(leaf, "value")]
    new = operator.mutate(node, index)
    text: str | None = None if new is None else new.get_code()
    if children:
        node.children = children
    for leaf, value in values:
        leaf.value = value
    return text


def quiet_places(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """((line, column), (line, column)) from and up to which code does nothing: annotations, imports for types."""
    nodes: list[ast.expr | ast.If] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += [node.returns] if node.returns else []
        elif isinstance(node, ast.arg | ast.AnnAssign):
            nodes += [node.annotation] if node.annotation else []
        elif isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            nodes.append(node)
    return [((n.lineno, n.col_offset), (n.end_lineno or 0, n.end_col_offset or 0)) for n in nodes]


def statements_of(source: str) -> list[tuple[int, int]]:
    """(first line, last line) of each statement of a module, with what stands above it, up to the one before."""
    last_lines = [node.end_lineno or node.lineno for node in ast.parse(source).body]
    return [(before + 1, last) for before, last in pairwise([0, *last_lines])]


def compiles(source: str) -> bool:
    """A mutant that does not is no mutant: every test would notice it."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def owners_of(source: str) -> dict[int, str]:
    """Line -> the dotted name of the innermost function or class that it stands in; lines outside are left out."""
    owners: dict[int, str] = {}

    def visit(node: ast.AST, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                lines = range(first, (child.end_lineno or first) + 1)
                owners.update(dict.fromkeys(lines, ".".join((*names, child.name))))
                visit(child, (*names, child.name))
            else:
                visit(child, names)

    visit(ast.parse(source), ())
    return owners
