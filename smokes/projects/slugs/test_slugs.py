import unittest

from slugs import slug


class Slug(unittest.TestCase):
    def test_words_are_joined(self):
        self.assertEqual(slug("Three Blind  Mice"), "three-blind-mice")

    def test_signs_are_gone(self):
        self.assertEqual(slug("What? No!"), "what-no")
