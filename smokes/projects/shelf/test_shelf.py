import unittest

from shelf import books


class Books(unittest.TestCase):
    def test_they_come_in_order(self):
        found = books("shelf.db")
        self.assertEqual(found, sorted(found))
        self.assertIn("Momo", found)
