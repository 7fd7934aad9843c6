def main(options):
    pass
