"""The null test: discs of unchanged ground, and those that say nothing"""

import math

import pytest
import shapely

from volcal.engine.nulltest import null_test
from volcal.engine.volumes import Volume

STABLE = shapely.box(0, 0, 100, 100)


def answer(net_m3: float, *, deviation: float = 1.0, unknown_share: float = 0.0) -> tuple[Volume, float]:
    volume = Volume(
        area_m2=20.0,
        cut_m3=0.0,
        fill_m3=net_m3,
        net_m3=net_m3,
        noise_m3=deviation,
        mean_height_m=0.0,
        unknown_share=unknown_share,
    )
    return volume, deviation


def test_the_factor_is_how_much_larger_the_discs_are_than_their_deviation():
    null = null_test(20.0, STABLE, 1.0, lambda disc: answer(3.0))

    assert null.was_done
    assert null.factor == pytest.approx(3.0)


def test_discs_that_one_survey_did_not_see_are_left_out():
    def measured(disc: shapely.Geometry) -> tuple[Volume, float]:
        if disc.centroid.x > 50:
            return answer(0.0, deviation=math.nan, unknown_share=1.0)
        return answer(3.0)

    null = null_test(20.0, STABLE, 1.0, measured)

    assert null.was_done
    assert null.factor == pytest.approx(3.0)


def test_ground_that_nobody_saw_twice_gives_no_null_test():
    null = null_test(20.0, STABLE, 1.0, lambda disc: answer(0.0, deviation=math.nan, unknown_share=1.0))

    assert not null.was_done
    assert null.factor == 1.0
