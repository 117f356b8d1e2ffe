"""Turns against SciPy's, small ones to the last digit."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from volcal.engine.pose import about, turn_deg


@pytest.mark.parametrize("degrees", [0, 1e-7, 0.005, 30, 179.9999])
def test_a_turn_is_the_one_that_was_asked_for(degrees):
    vector = np.radians(degrees) * np.array([0.48, -0.6, 0.64])

    pose = about(np.array([10.0, 20, 30]), vector, np.array([1.0, 2, 3]))

    assert pose[:3, :3] == pytest.approx(Rotation.from_rotvec(vector).as_matrix(), abs=1e-14)
    assert pose[:3, :3] @ [10, 20, 30] + pose[:3, 3] == pytest.approx([11, 22, 33])
    assert turn_deg(pose) == pytest.approx(degrees, rel=1e-6, abs=1e-12)
