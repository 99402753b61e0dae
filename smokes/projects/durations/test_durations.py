import unittest

from durations import parse


class Parse(unittest.TestCase):
    def test_one_unit(self):
        self.assertEqual(parse("90s"), 90)
        self.assertEqual(parse("15m"), 900)

    def test_units_add_up(self):
        self.assertEqual(parse("1h30m"), 5400)

    def test_a_number_needs_a_unit(self):
        self.assertRaises(ValueError, parse, "90")


if __name__ == "__main__":
    unittest.main()
