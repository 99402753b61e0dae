import prices

print(f"coffee {prices.COFFEE}, tea {prices.TEA}, together {prices.total(prices.COFFEE, prices.TEA)}")
