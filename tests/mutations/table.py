"""The table of breakages: a piece of the package, what is put in its place, and who must notice."""

from collections.abc import Iterator
from typing import NamedTuple


class Mutation(NamedTuple):
    """One breakage of the code."""

    file: str
    """File of the package."""
    before: str
    """Piece of its text that is there exactly once."""
    after: str
    """What is put in its place."""
    tests: tuple[str, ...]
    """Files of tests, or single tests, of which one must fail."""
    why: str
    """What the breakage would mean."""

    @property
    def words(self) -> tuple[str, ...]:
        """All text of the row."""
        return (self.file, self.before, self.after, self.why, *self.tests)


def rows(file: str, *changes: tuple[str, str, str, str]) -> Iterator[Mutation]:
    """Yield the breakages of a file: each is its text before and after, tests, and why.

    Tests are written without their folder, with blanks between them.
    """
    for before, after, tests, why in changes:
        named = tuple(f"tests/{name}" for name in tests.split())
        yield Mutation(f"lthray/{file}", before, after, named, why)


BOUNDS = "test_bounds.py"
SPECS = "test_specs.py"
SHARES = "test_shares.py"
RANKING = "test_ranking.py"
GRADES = "test_verdicts.py::test_grades"
LADDERS = "test_verdicts.py::test_where_a_recipe_matches_and_where_it_wins"
CHANCE = "test_verdicts.py::test_the_noise_floor_is_of_dense_networks_among_themselves"
SEEDS = "test_statistics.py::test_the_mean_of_seeds_is_statsmodels"
SURVEY = "test_frequency.py::test_one_way_clusters_give_the_interval_of_r_survey"
COUNTED = "test_frequency.py::test_a_ticket_wins_that_matches_and_is_the_best_of_both_kinds"
COVERED = (
    "test_frequency.py::test_a_share_is_covered_whichever_of_recipe_and_seed_makes_outcomes_alike"
)
LOST = "test_frequency.py::test_a_planned_trial_without_a_number_is_the_worst_outcome"
APART = "test_frequency.py::test_negative_controls_are_in_no_share"
RATES = "test_frequency.py::test_base_rates_are_what_exchangeable_networks_do"
MIXED = "test_frequency.py::test_the_mixed_model_is_that_of_statsmodels"
TOGETHER = "test_designs.py::test_associations_are_those_of_scipy"
DRAWS = "test_recipe.py::test_draws_of_a_control_share_the_chain_and_are_trained_apart"
RATIO = "test_statistics.py::test_the_error_of_an_excess_is_that_of_a_ratio_of_means_by_hand"
CURVES = "test_statistics.py::test_a_target_is_reached_once_and_for_all"
SPENT = "test_recipe.py::test_what_was_spent_is_all_training_that_mask_and_weights_come_from"

CLAIMS = rows(
    "findings/claims.py",
    (
        "_claim(FASTER, map(math.log, speed(evidence, cell)), whole=whole)",
        "_claim(FASTER, map(math.log, speed(evidence, cell)), 1.0, whole=whole)",
        BOUNDS,
        "a ticket that needs up to e times the steps learns faster",
    ),
    (
        "[ticket - dense for dense, ticket in pairs]",
        "[dense - ticket for dense, ticket in pairs]",
        BOUNDS,
        "worse samples are better ones",
    ),
    (
        "_claim(BETTER, ticket.values(), whole=whole)",
        "_claim(BETTER, ticket.values(), margin, whole=whole)",
        BOUNDS,
        "a ticket that is a little worse is better",
    ),
    (
        "len(outcomes) >= SAMPLERS and all(outcomes)",
        "len(outcomes) >= SAMPLERS and any(outcomes)",
        GRADES,
        "one good sampler of several is enough",
    ),
    (
        "SAMPLERS = 2",
        "SAMPLERS = 1",
        "test_verdicts.py::test_one_sampler_alone_gives_no_grade_in_samples",
        "samples of one sampler are enough",
    ),
    (
        "parts = [holds(tested, name) for name in CONFIRMED]",
        "parts = [holds(tested, name) for name in CONFIRMED if name in tested]",
        GRADES,
        "a control that was never trained is beaten",
    ),
    (
        "testable = whole and len(numbers) > 1 and all(map(math.isfinite, numbers))",
        "testable = whole and len(numbers := tuple(filter(math.isfinite, numbers))) > 1",
        BOUNDS,
        "seeds in which a ticket never gets there are left out",
    ),
    (
        "in tested if len(claim.values) > 1}",
        "in tested if claim.values}",
        BOUNDS,
        "one seed is a sample",
    ),
    (
        'st.t_test(self.values, "less", shift=self.margin)',
        'st.t_test(self.values, "less")',
        BOUNDS,
        "p of matching is that of being better",
    ),
    (
        'st.sign_flip(self.values, "less", shift=self.margin)',
        'st.sign_flip(self.values, "less")',
        BOUNDS,
        "p of sign flips forgets the margin",
    ),
    (
        "target = dense[-1][1]",
        "target = min(loss for _, loss in dense)",
        BOUNDS,
        "a ticket is timed to the best loss of the dense network, not to its last",
    ),
    (
        "beats_both = d < min(shuffled[seed], fresh[seed])",
        "beats_both = d < max(shuffled[seed], fresh[seed])",
        BOUNDS,
        "a seed wins that beats one of its two controls",
    ),
    ("beats_both = d < min(", "beats_both = d <= min(", BOUNDS, "a draw with a control is a win"),
    ("BORDER = 2 ", "BORDER = 2.5 ", BOUNDS, "clear wins of a seed are undetermined"),
    ("(a - b) / b if relative else a - b", "a - b", CHANCE, "chance in the loss is not relative"),
    (
        "return pairs + list(combinations(evidence.dense.values(), 2))",
        "return pairs",
        CHANCE,
        "chance leaves out the difference between seeds",
    ),
    (
        "st.fixed_sequence(matching)",
        "sum(matching)",
        LADDERS,
        "rungs below one that does not match count",
    ),
    (
        "max(tested[name].p for name in CONFIRMED)",
        "min(tested[name].p for name in CONFIRMED)",
        BOUNDS,
        "a rung wins by its best part, not by its weakest",
    ),
    (
        "adjusted = st.holm(list(p.values()))",
        "adjusted = list(p.values())",
        BOUNDS,
        "rungs are tested as if each were the only one",
    ),
    ("GAIN = 0.03 ", "GAIN = 0.025 ", BOUNDS, "dense networks are undertrained sooner"),
    (
        "mean = plain.fmean(changes)\n",
        "mean = plain.median(changes)\n",
        BOUNDS,
        "most seeds decide whether dense networks are undertrained, not the mean",
    ),
    (
        "plain.fmean(other - value for other in others)",
        "plain.fmean(value - other for other in others)",
        BOUNDS,
        "a given classifier that is better is worse",
    ),
    (
        "own[kid] - plain.fmean(kids)",
        "plain.fmean(kids) - own[kid]",
        BOUNDS,
        "a given network with better samples has worse ones",
    ),
)

EVIDENCE = rows(
    "findings/evidence.py",
    ("CERTAIN = 1.645 ", "CERTAIN = 1.96 ", BOUNDS, "one network is held to a two-sided bound"),
    ("< margin_of(r)", "<= margin_of(r)", BOUNDS, "a network on the margin is below it"),
    (
        "return POINTS if metrics.LOST.name in r.metrics else MARGIN",
        "return MARGIN",
        BOUNDS,
        "a classifier may lose a whole point and match",
    ),
    (
        "len(recorded.metrics) < len(dense.metrics)",
        "len(recorded.metrics) > len(dense.metrics)",
        BOUNDS,
        "of two records of a dense network the one without samples is taken",
    ),
    (
        '(point.control, point.config.get("rewind.rule")) == SECOND_DENSE',
        'point.control == "dense"',
        BOUNDS,
        "a dense control that was rewound says what chance alone does",
    ),
    (
        "words.append(f\"{point.config['sigma']:g}\")",
        "pass",
        BOUNDS,
        "tickets moved by much and by little overwrite each other",
    ),
    (
        'PANEL = ("split", "images", "timesteps")',
        'PANEL = ("split", "images")',
        BOUNDS,
        "losses at different timesteps are compared",
    ),
    (
        "return tuple(trial.point.data), *chosen",
        "return trial.point.data[0], *chosen",
        BOUNDS,
        "different data of one name are compared",
    ),
    (
        "and task_of(trial.point.config) == task",
        "",
        BOUNDS,
        "a given network of another task stands beside the tickets",
    ),
    (
        "groups.get((json.dumps(twice, sort_keys=True), evidence.panel))",
        "{setting: each for (setting, _), each in groups.items()}.get(\n"
        "            json.dumps(twice, sort_keys=True)\n"
        "        )",
        BOUNDS,
        "dense networks of twice the steps are measured on other images",
    ),
)

ROUNDS = rows(
    "findings/rounds.py",
    ("value - second[seed]", "second[seed] - value", BOUNDS, "a control that is better is worse"),
    (
        "(step, loss) for step, _, loss, *_ in",
        "(step, loss) for step, loss, *_ in",
        BOUNDS,
        "speed is that of the training loss",
    ),
)

WORDING = rows(
    "findings/wording.py",
    ("return (high - low) / 2", "return high - low", BOUNDS, "intervals are shown twice as wide"),
    (
        '("*" if claim.holds else "")',
        '("*" if claim.mean < claim.margin else "")',
        BOUNDS,
        "a star is given for a mean alone",
    ),
    (
        '"learns faster" if tested[claims.FASTER].holds',
        '"learns faster" if tested[claims.FASTER].mean < 0',
        BOUNDS,
        "a ticket learns faster that is so on average",
    ),
    (
        '"agree" if sampled[0] == matching',
        '"agree" if sampled[0]',
        BOUNDS,
        "bad samples of a bad network disagree with its loss",
    ),
    (
        "steps = max(r.metrics.get(metrics.STEPS_OF_WEIGHTS",
        "steps = min(r.metrics.get(metrics.STEPS_OF_WEIGHTS",
        BOUNDS,
        "older weights are not told where one seed has none",
    ),
    (
        "if set(claims.NEEDED) <= cell.arms.keys() and",
        "if set(claims.NEEDED) & cell.arms.keys() and",
        BOUNDS,
        "more is claimed with one of two controls",
    ),
)

STATISTICS = rows(
    "findings/stats.py",
    (
        "scipy.stats.t.ppf((1 + level) / 2, df)",
        "scipy.stats.t.ppf(level, df)",
        SEEDS,
        "an interval of two sides has the quantile of one",
    ),
    (
        "scipy.stats.t.ppf(level, df)",
        "scipy.stats.norm.ppf(level)",
        SEEDS,
        "few seeds are taken for many",
    ),
    ("rest.std(ddof=1)", "rest.std()", SEEDS, "the spread of few seeds is too small"),
    (
        "np.arange(len(p), 0, -1)",
        "np.full(len(p), len(p))",
        "test_statistics.py::test_holm_is_statsmodels",
        "Bonferroni is said to be Holm",
    ),
    (
        "influence = (a - (1 + excess) * b)",
        "influence = (a - b)",
        RATIO,
        "the error of an excess is that of a difference",
    ),
    (
        "np.sqrt(len(a))",
        "np.sqrt(losses.size)",
        RATIO,
        "timesteps of one image count as images",
    ),
    (
        "wanted = share * (1 - share) * narrower**2",
        "wanted = share * (1 - share)",
        SURVEY,
        "few clusters are taken for many",
    ),
    (
        "scipy.special.betaincinv(won, lost + 1, tail)",
        "scipy.special.betaincinv(won + 1, lost, tail)",
        SURVEY,
        "the lower end of a share is too high",
    ),
    (
        "~np.asarray(observed, dtype=bool)",
        "np.asarray(observed, dtype=bool)",
        "test_statistics.py::test_survival_is_statsmodels",
        "trials that never failed are failures",
    ),
    (
        "self.survival <= 0.5 + 1e-12",
        "self.survival < 0.5 - 1e-12",
        "test_statistics.py::test_edges",
        "half is not yet half",
    ),
    (
        "np.quantile(np.abs(differences), q)",
        "np.quantile(differences, q)",
        "test_statistics.py::test_a_noise_floor_is_a_quantile_of_sizes",
        "chance has one side",
    ),
    (
        "best = np.minimum.accumulate(loss)",
        "best = loss",
        CURVES,
        "what was reached is lost again",
    ),
    ("if best[-1] > target:", "if best[-1] >= target:", CURVES, "a target that is met is missed"),
)

FREQUENCY = (
    *rows(
        "findings/frequency.py",
        (
            "self.excess < each.min(-1)",
            "self.excess < each.max(-1)",
            COUNTED,
            "one control is enough",
        ),
        (
            "np.where(np.isfinite(draws), draws, -np.inf)",
            "np.where(np.isfinite(draws), draws, np.inf)",
            LOST,
            "a control that failed is beaten",
        ),
        (
            "np.where(lost, np.inf, excess)",
            "np.where(lost, -np.inf, excess)",
            LOST,
            "a ticket that failed wins",
        ),
        (
            "1 / (1 + each.shape[-1])",
            "1 / each.shape[-1]",
            RATES,
            "the ticket is not among its rivals",
        ),
        (
            "if words[word] == rule]",
            "if words[word] == rule and False]",
            APART,
            "what cannot win is in the denominator",
        ),
        (
            "variance = max(ways.max(), ways.sum() - _between(off.ravel()))",
            "variance = ways[0]",
            COVERED,
            "trajectories of one seed are independent",
        ),
    ),
    *rows(
        "findings/effects.py",
        (
            "recipe = between - noise / seeds",
            "recipe = between",
            MIXED,
            "noise of seeds is a spread of recipes",
        ),
        (
            ")) / spare  # of means",
            ")) / len(means)  # of means",
            MIXED,
            "coefficients cost nothing",
        ),
    ),
    *rows(
        "findings/survival.py",
        (
            "np.isnan(times) & ~rung",
            "~rung",
            "test_frequency.py::test_survival_is_of_matching_and_not_of_winning",
            "the last failure is the first",
        ),
    ),
    *rows(
        "study/design.py",
        (
            "columns = _ranks(values)[:, None]",
            "columns = np.array(values)[:, None]",
            TOGETHER,
            "two numbers go together by a line alone",
        ),
        (
            "least = max(min(a.shape[1], b.shape[1]), 1)",
            "least = 1",
            TOGETHER,
            "words of many values go together more",
        ),
    ),
)
"""How often tickets win, and over what."""

KEYS = (
    *rows(
        "core/keys.py",
        (
            "[kind, version, spec, parents]",
            "[kind, version, spec, sorted(parents)]",
            SPECS,
            "a ticket over its dense network has the key of the reverse",
        ),
        (
            "sort_keys=True, separators",
            "separators",
            "test_store.py::test_keys_depend_on_kind_version_spec_and_parents",
            "one thing has two keys",
        ),
    ),
    *rows(
        "trial/steps.py",
        (
            "VERSIONS[self.kind], self.spec, *parents",
            "1, self.spec, *parents",
            "test_recipe.py::test_a_key_is_of_kind_version_spec_and_parents",
            "numbers of an older version are taken for new ones",
        ),
        (
            'if step.kind in ("control", "choose"):\n        return history(step.parents[0])',
            'if step.kind in ("control", "choose"):\n        return 0',
            SPECS,
            "moved weights have seen no training",
        ),
        (
            'step.parents[:1] if step.kind == "train" else step.parents',
            "step.parents[:1]",
            SPENT,
            "finding the mask costs nothing",
        ),
        (
            'key_of("alike", 1, shared, step.parents[1].key)',
            'key_of("alike", 1, shared)',
            "test_recipe.py::test_runs_that_may_train_in_one_program_"
            "differ_in_begin_mask_and_stream_alone",
            "runs on different latents are trained on one of them",
        ),
    ),
    *rows(
        "trial/recipe.py",
        (
            "if criterion.seeded or budget.asks:",
            "if criterion.seeded:",
            SPECS,
            "a mask by the images of one seed is that of another",
        ),
        (
            'spec |= c.canonical("rewind")',
            "pass",
            SPECS,
            "masks of different initial weights are one",
        ),
        (
            '        spec.pop("prune.ladder", None)\n',
            "",
            SPECS,
            "a first rung is another by what comes after it",
        ),
        (
            'last.index if c.prune.between == "tickets" else 0',
            "0",
            SPECS,
            "tickets of two seeds are never compared, only dense networks",
        ),
        (
            'spec["at"] = source.span[0] + self.k if',
            'spec["at"] = self.k if',
            SPECS,
            "the anchor of the rung before is at its very start",
        ),
        (
            '"state"] = c.rewind.state if midway else "reset"',
            '"state"] = c.rewind.state',
            SPECS,
            "the first step begins with the moments of no step",
        ),
        (
            "self.sources.init(fresh_seed(c, index, draw))",
            "self.sources.init(fresh_seed(c, 1, draw))",
            SPECS,
            "all rungs are re-initialised with the same weights",
        ),
        (
            '{"mask": row.mask, "seed": fresh_seed(self.config, index, self.config.draw)}',
            '{"mask": row.mask, "seed": SECOND + index}',
            SPECS,
            "all seeds share one shuffle",
        ),
        (
            "SECOND + config.seed * 1000 + index + DRAW * draw",
            "SECOND + config.seed * 1000 + index",
            DRAWS,
            "all draws of a control are one",
        ),
        (
            "draw if row and row.rule else 0",
            "draw",
            DRAWS,
            "a shuffled mask is trained from other weights than the ticket",
        ),
        (
            "SECOND + 1000 * self.config.stream + fork if fork",
            "self.config.stream + fork if fork",
            SPECS,
            "the second run of a seed is on the stream of the next seed",
        ),
        (
            "c.canonical(), digest, origin",
            "c.canonical(), origin",
            SPECS,
            "different data of one name are one trial",
        ),
    ),
    *rows(
        "trial/sources.py",
        (
            '"span": [start, end]',
            '"span": [0, end]',
            SPENT,
            "a run from the middle of the schedule is one from its start",
        ),
        (
            '            spec |= c.canonical("regime")\n',
            "",
            SPECS,
            "every regime is the first that was run",
        ),
        (
            '{"seed": 0 if is_given else seed}',
            '{"seed": 0 if digest else seed}',
            SPECS,
            "new weights in place of given ones are the given ones",
        ),
        (
            'Step("init", spec | self.shape',
            'Step("init", spec',
            SPECS,
            "weights of one shape are taken for another",
        ),
    ),
    *rows(
        "trial/measuring.py",
        (
            'CURVE = ("measure.split", ',
            "CURVE = (",
            SPECS,
            "curves of validation images are shown for test images",
        ),
        (
            '"measure.timesteps", "measure.checkpoints")',
            '"measure.timesteps")',
            SPECS,
            "a curve of many points is one of few",
        ),
        (
            '"samples": measure.samples, "calls": calls}',
            '"samples": measure.samples}',
            SPECS,
            "samples of many calls are those of few",
        ),
        (
            "dense = roles if rung.index == 0 else self.dense",
            "dense = roles",
            SPECS,
            "every network is compared with itself",
        ),
        (
            'rung.small if rung.small and "network" in row.needs else self.config',
            "self.config",
            SPECS,
            "a narrower network is measured as if layers of another could be cut",
        ),
    ),
    *rows(
        "measure/table.py",
        ('PANEL = ("measure.split", ', "PANEL = (", SPECS, "validation and test losses are one"),
        (
            'Measure(("loss", "dense loss"), excess',
            'Measure(("dense loss", "loss"), excess',
            SPECS,
            "the dense network is worse by what the ticket is",
        ),
    ),
    *rows(
        "trial/trajectory.py",
        (
            "names = {name: step.key for name, step in self.measures.items()}",
            "names = sorted(step.key for step in self.measures.values())",
            SPECS,
            "a round forgets which measure is which",
        ),
        ("lineage(self.shown)", "lineage(self.chain)", SPENT, "a control costs what a ticket does"),
    ),
)

COUNTS = (
    *rows(
        "prune/shares.py",
        ("int((values > -torch.inf).sum())", "values.numel()", SHARES, "what is cut can be kept"),
        (
            "c = (keep - sum(exact.values())) / weights",
            "c = keep / weights",
            SHARES,
            "full layers take nothing from the others' share",
        ),
        (
            "key=lambda name: counts[name] - exact[name]",
            "key=lambda name: exact[name] - counts[name]",
            SHARES,
            "the smallest remainders are rounded up",
        ),
        (
            "if keep > sum(caps.values()):",
            "if keep >= sum(caps.values()):",
            SHARES,
            "all that is left cannot be kept",
        ),
    ),
    *rows(
        "core/ticket.py",
        (
            "return kept.index_fill_(0, order[:count], True)",
            "return flat >= flat[order[:count]].min() if count else kept",
            SHARES,
            "equal scores are kept together, and counts are not exact",
        ),
        (
            "order = torch.sort(flat, stable=True, descending=True).indices",
            "order = torch.sort(flat, stable=True).indices.flip(0)",
            SHARES,
            "of equal scores the last is kept",
        ),
        (
            "(self & other).kept == self.kept",
            "(self & other).kept == other.kept",
            "test_ticket.py::test_mask_algebra",
            "masks that grow are said to nest",
        ),
    ),
)

RESULTS = (
    *rows(
        "study/results.py",
        (
            "return -len(trial.rounds), score, trial.number",
            "return -len(trial.rounds), -score, trial.number",
            RANKING,
            "the worst trial is the best",
        ),
        (
            "if whole and not (fair and trial.older):",
            "if whole:",
            RANKING,
            "a recipe is best by more training steps",
        ),
        (
            "by_recipe.setdefault((recipe(trial), setting(trial)), trial)",
            "by_recipe.setdefault((trial.point.recipe, setting(trial)), trial)",
            RANKING,
            "recipes of one name are one recipe",
        ),
        (
            "len(trial.rounds) == rungs + 1",
            "len(trial.rounds) >= rungs",
            RANKING,
            "a trial is best that was stopped before its last rung",
        ),
        (
            'whole = trial.point.control == "none" and len',
            "whole = len",
            RANKING,
            "a control is the best recipe",
        ),
        (
            "            break\n        sparsest",
            "            continue\n        sparsest",
            RANKING,
            "a trial matches below a rung that it does not match",
        ),
        (
            'training[r.keys["weights"]] =',
            'training[r.keys["round"]] =',
            RANKING,
            "time of shared training is counted twice",
        ),
        (
            "statistics.stdev(numbers)",
            "statistics.pstdev(numbers)",
            RANKING,
            "the spread of a few trials is too small",
        ),
    ),
    *rows(
        "study/space.py",
        (
            "sum(other <= score for other in earlier)",
            "sum(other < score for other in earlier)",
            RANKING,
            "all of many equal trials go on",
        ),
        (
            "-(-(len(earlier) + 1) // reduction)",
            "-(-len(earlier) // reduction)",
            RANKING,
            "a trial does not count among those that came",
        ),
        (
            "EXCESS.name if index else HELDOUT.name",
            "HELDOUT.name",
            RANKING,
            "tickets are ranked by their loss, whatever their dense network's",
        ),
    ),
)

PINNED = "test_pretrained.py::test_an_id_on_the_hub_is_pinned_to_the_commit_that_was_read"
DELETED = "test_recording.py::test_whatever_is_deleted_in_mlflow_is_there_again_and_once"
TWICE = "test_recording.py::test_a_trial_that_is_recorded_twice_is_read_once"
COLOURS = "test_colours.py"

TRUST = (
    *rows(
        "trial/given.py",
        (
            "places[word] = _pinned(places[word], part)",
            "_pinned(places[word], part)",
            PINNED,
            "workers read what a branch of the Hub is at when they come to it",
        ),
    ),
    *rows(
        "tracking/recorder.py",
        (
            "for other in runs[1:]:",
            "for other in runs[2:]:",
            TWICE,
            "a trial has two runs in MLflow for good",
        ),
        (
            "runs = self._untagged(experiment, trial)",
            "self._untagged(experiment, trial)",
            DELETED,
            "a run that has lost its tag stays beside the one that is made for it",
        ),
    ),
    *rows(
        "tracking/read.py",
        (
            "{trial.id: trial for trial in self._read()}",
            "{trial.run: trial for trial in self._read()}",
            TWICE,
            "one seed that is recorded twice counts as two",
        ),
    ),
    *rows(
        "task/pictures.py",
        (
            "shown = transform.apply(picture.convert(inks))",
            "shown = picture.convert(inks)",
            COLOURS,
            "a colour profile is told, and not applied",
        ),
        (
            "return None if np.abs(before - after).max() <= NEAR else transform",
            "return transform",
            COLOURS,
            "a profile of sRGB itself is told as a conversion",
        ),
    ),
)
"""Where things come from, and what is there once."""

TABLE = (
    *CLAIMS,
    *EVIDENCE,
    *ROUNDS,
    *WORDING,
    *STATISTICS,
    *FREQUENCY,
    *KEYS,
    *COUNTS,
    *RESULTS,
    *TRUST,
)
